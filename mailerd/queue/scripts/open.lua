-- Opens the batch of a claimed job: registers it if a foreign job brings a new one, and reads what a worker
-- needs to know of it.
-- It also notes who has the job before its eyes: only that worker's death can be the job's fault. Further short
-- jobs of the batch are opened with it up to the first during which a worker has died: such a one is opened alone.
-- KEYS 1 lease  2 batch  3 tombstone  4 clients of each batch id  5 index of batches  6 that of the client
--      7 jobs
-- ARGV 1 lease (ms)  2 jid  3 client id  4 batch id
--      and for a job, not for a slice: 5 template  6 variables  7 buckets  8 expires (ms or '')  9… further jids
-- Returns {'lost'} | {'gone'} (no such batch) | {'ended'} (long ago: deleted, a tombstone stands)
--      | {'ok', template, variables, buckets, ms since it was enqueued with this job or '', template digest or '',
--      deaths, agrees (1|0), 'paused', 'cancelled' or '', its policy for unknown ones or '', how many are open}
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local known = redis.call('HMGET', KEYS[2], 'template', 'variables', 'buckets', 'created', 'pinned', 'promise',
  'policy')
if not known[4] then
  if redis.call('EXISTS', KEYS[3]) == 1 then return {'ended'} end
  if #ARGV < 8 then return {'gone'} end
  local now = now_ms()
  redis.call('HSET', KEYS[2], 'created', now, 'template', ARGV[5], 'variables', ARGV[6], 'buckets', ARGV[7],
    'recipients', 0)
  if ARGV[8] ~= '' then redis.call('HSET', KEYS[2], 'expires', ARGV[8]) end
  note_batch(KEYS[4], KEYS[5], KEYS[6], ARGV[3], ARGV[4], now)
  known = {ARGV[5], ARGV[6], ARGV[7], now, false, false, false}
end
local inc, jobs = string.match(KEYS[1], '[^:]*$'), 1
redis.call('HSET', KEYS[7], ARGV[2] .. ':opened', inc)
local waited = known[6] == ARGV[2] and tostring(now_ms() - known[4]) or ''
local deaths = redis.call('HGET', KEYS[7], ARGV[2] .. ':deaths') or '0'
for i = 9, deaths == '0' and #ARGV or 0 do
  if redis.call('HEXISTS', KEYS[7], ARGV[i] .. ':deaths') == 1 then break end
  redis.call('HSET', KEYS[7], ARGV[i] .. ':opened', inc)
  jobs = jobs + 1
end
local agrees = (#ARGV < 8 or (known[1] == ARGV[5] and known[2] == ARGV[6])) and 1 or 0
return {'ok', known[1], known[2], known[3], waited, known[5] or '', deaths, agrees, halt_of(KEYS[2]), known[7] or '',
  jobs}
