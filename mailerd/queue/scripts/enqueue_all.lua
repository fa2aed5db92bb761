-- Registers several batches and pushes their jobs, all or none of them.
-- KEYS 1 queue  2 clients of each batch id  3 index of batches  4… for each: batch, tombstone, client's index
-- ARGV 1 token of the request  2 longest queue (0: any)  3… for each: raw, jid, digest, recipients, template,
--      variables, buckets, expires (ms or ''), client id, batch id
-- Returns one {admission, recipients} each, as enqueue does; if any is conflict, foreign or full, nothing was done.
-- What is known is written once more, so that a WAIT that follows covers it.
local token, longest = ARGV[1], tonumber(ARGV[2])
local answers, refused, wanted = {}, false, 0

local function admission(batch, tombstone, digest)
  local kept = redis.call('GET', tombstone)
  if kept then return string.match(kept, '^(%S+)') == digest and 'replayed' or 'conflict' end
  local known = redis.call('HMGET', batch, 'digest', 'request', 'created')
  if not known[3] then return 'new' end
  if not known[1] then return 'foreign' end
  if known[1] ~= digest then return 'conflict' end
  redis.call('HSET', batch, 'request', known[2])
  return known[2] == token and 'queued' or 'replayed'
end

for i = 3, #ARGV, 10 do
  local k = 4 + (i - 3) / 10 * 3
  local what = admission(KEYS[k], KEYS[k + 1], ARGV[i + 2])
  answers[#answers + 1] = {what, tonumber(ARGV[i + 3])}
  refused = refused or what == 'conflict' or what == 'foreign'
  if what == 'new' then wanted = wanted + 1 end
end
local full = longest > 0 and wanted > 0 and redis.call('LLEN', KEYS[1]) + wanted > longest
local now = now_ms()
for n, answer in ipairs(answers) do
  if answer[1] == 'new' then
    answer[1] = full and 'full' or 'queued'
    if not full and not refused then
      local i, k = 3 + (n - 1) * 10, 4 + (n - 1) * 3
      register(KEYS[k], now, ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 2], token, ARGV[i + 3], ARGV[i + 1],
        ARGV[i + 7])
      note_batch(KEYS[2], KEYS[3], KEYS[k + 2], ARGV[i + 8], ARGV[i + 9], now)
      redis.call('LPUSH', KEYS[1], ARGV[i])
    end
  end
end
return answers
