-- Turns a claimed ticket into the batch's next slice and sends the ticket to the tail while slices are left.
-- That of a paused batch is parked instead; for a cancelled batch no slice is left, but while anybody of it is in
-- somebody's hand: a failover may have put a slice back that its worker still claims from.
-- KEYS 1 lease  2 own list  3 queue  4 side list  5 batch  6 parked
-- ARGV 1 lease (ms)  2 ticket
-- Returns {'lost'} | {'gone'} (the claim is not ours) | {'empty'} | {'ok', slice}
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return {'gone'} end
local halt = halt_of(KEYS[5])
if halt == 'paused' then
  redis.call('RPUSH', KEYS[6], ARGV[2])
  return {'empty'}
end
local in_hand = redis.call('HGET', KEYS[5], 'sending') or '0'
if halt == 'cancelled' and in_hand == '0' then redis.call('DEL', KEYS[4]) end
local slice = redis.call('LPOP', KEYS[4])
if slice then redis.call('LPUSH', KEYS[2], slice) end
if redis.call('LLEN', KEYS[4]) > 0 then
  redis.call('LPUSH', KEYS[3], ARGV[2])
else
  redis.call('HDEL', KEYS[5], 'ticket')
end
if not slice then return {'empty'} end
return {'ok', slice}
