-- Registers several batches and pushes their jobs, all or none of them.
-- KEYS 1 queue  2 clients of each batch id  3 index of batches  4… for each: batch, tombstone, client's index
-- ARGV 1 token of the request  2 longest queue (0: any)  3… for each: raw, jid, digest, recipients, template,
--      variables, buckets, expires (ms or ''), client id, batch id
-- Returns one {admission, recipients} each, as enqueue does; if any is conflict, foreign or full, nothing was done.
-- What is known is written once more, so that a WAIT that follows covers it.
local token, longest = ARGV[1], tonumber(ARGV[2])
local MOST_ARGUMENTS = 1000 -- of one call: what Lua can unpack is limited

local function call_with_all(command, key, arguments)
  for i = 1, #arguments, MOST_ARGUMENTS do
    redis.call(command, key, unpack(arguments, i, math.min(i + MOST_ARGUMENTS - 1, #arguments)))
  end
end

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

local answers, new, refused = {}, {}, false
for i = 3, #ARGV, 10 do
  local k = 4 + (i - 3) / 10 * 3
  local what = admission(KEYS[k], KEYS[k + 1], ARGV[i + 2])
  local answer = {what, tonumber(ARGV[i + 3])}
  answers[#answers + 1] = answer
  refused = refused or what == 'conflict' or what == 'foreign'
  if what == 'new' then new[#new + 1] = {answer, i, k} end
end
local full = longest > 0 and #new > 0 and redis.call('LLEN', KEYS[1]) + #new > longest
for _, each in ipairs(new) do each[1][1] = full and 'full' or 'queued' end
if full or refused or #new == 0 then return answers end

local now, recipients, raws, ages, own_ages = now_ms(), 0, {}, {}, {}
for n, each in ipairs(new) do
  local i, k = each[2], each[3]
  local client, batch_id = ARGV[i + 8], ARGV[i + 9]
  register(KEYS[k], now, ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 2], token, ARGV[i + 3], ARGV[i + 1],
    ARGV[i + 7])
  note_client(KEYS[2], batch_id, client)
  local own = own_ages[KEYS[k + 2]] or {}
  own_ages[KEYS[k + 2]] = own
  local tag = client .. '/' .. batch_id
  ages[2 * n - 1], ages[2 * n] = now, tag
  own[#own + 1] = now
  own[#own + 1] = tag
  raws[n] = ARGV[i]
  recipients = recipients + ARGV[i + 3]
end
add_to_totals(KEYS[new[1][3]], recipients)
call_with_all('ZADD', KEYS[3], ages)
for own_index, own in pairs(own_ages) do call_with_all('ZADD', own_index, own) end
call_with_all('LPUSH', KEYS[1], raws)
return answers
