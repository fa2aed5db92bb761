-- Reads what /metrics says of a whole queue, at one moment. Changes nothing.
-- KEYS 1 queue  2 retry  3 dead  4 index of batches  5 ended  6 attention  7 totals  8 workers
-- ARGV 1 prefix of lease keys  2 prefix of batches  3 prefix of side lists
-- Returns {now (ms), waiting, put aside, dead, batches, ended, want attention, living workers, totals, next};
--      totals: pairs of name and number; next: {} or {the job that is next or, of a long one, its ends, when its batch
--      was enqueued (ms) or '', the job id that it was enqueued with or ''}. Behind a ticket, which goes round,
--      stands how many slices are left.
local now = now_ms()
local LONG = 8192

local function living()
  local n = 0
  for _, name in ipairs(redis.call('HKEYS', KEYS[8])) do
    n = n + redis.call('EXISTS', ARGV[1] .. name)
  end
  return n
end

local function named(ends, field)
  return string.match(ends, '"' .. field .. '"%s*:%s*"([%w._@+-]+)"') or ''
end

local function next_job()
  local raw = redis.call('LINDEX', KEYS[1], -1)
  if not raw then return {} end
  local ticket = string.match(raw, '^mailerd ticket (%S+)$')
  if ticket then return {raw .. ' ' .. redis.call('LLEN', ARGV[3] .. ticket), '', ''} end
  local shown = #raw <= LONG and raw or string.sub(raw, 1, LONG / 2) .. string.sub(raw, -LONG / 2)
  local batch = ARGV[2] .. named(shown, 'client_id') .. '/' .. named(shown, 'batch_id')
  local noted = redis.call('HMGET', batch, 'created', 'promise')
  return {shown, noted[1] or '', noted[2] or ''}
end

return {now, redis.call('LLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[5]), redis.call('SCARD', KEYS[6]), living(),
  redis.call('HGETALL', KEYS[7]), next_job()}
