-- Carries out an operator's word on a batch, as far as it is at once; the rest is put on the list of sweeps, which
-- the janitor works off.
-- KEYS 1 batch  2 ended  3 sweeps
-- ARGV 1 client/batch  2 cancel, pause, resume or retry
-- Returns 'done' | 'nothing' (there is nothing to do) | 'unknown' (no such batch)
local batch, action, now = KEYS[1], ARGV[2], now_ms()
local says = redis.call('HMGET', batch, 'created', 'halt', 'queued', 'sending', 'deferred', 'failed', 'invalid',
  'expired', 'promised')
if not says[1] then return 'unknown' end
local halt, n = says[2] or '', {}
for i = 3, 9 do n[i] = tonumber(says[i] or 0) end
local open, again = n[3] + n[4] + n[5], n[6] + n[7] + n[8]

if action == 'pause' then
  if halt ~= '' or open == 0 then return 'nothing' end
  redis.call('HSET', batch, 'halt', 'paused')
  return 'done'
end
if action == 'resume' then
  if halt ~= 'paused' then return 'nothing' end
  redis.call('HDEL', batch, 'halt')
end
if action == 'retry' and (halt == 'cancelled' or again == 0) then return 'nothing' end
if action == 'cancel' then
  if halt == 'cancelled' or open == 0 then return 'nothing' end
  redis.call('HSET', batch, 'halt', 'cancelled', 'promised_as', 'k')
  book(batch, KEYS[2], ARGV[1], {q = -n[9], k = n[9]}, now)
end
redis.call('RPUSH', KEYS[3], action .. ' ' .. ARGV[1] .. ' ' .. now)
return 'done'
