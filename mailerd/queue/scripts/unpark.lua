-- Brings parked jobs of a batch that is no longer paused back to the head of the queue, in their order.
-- KEYS 1 batch  2 parked  3 queue
-- ARGV 1 at most
-- Returns how many.
if halt_of(KEYS[1]) == 'paused' then return 0 end
for n = 1, tonumber(ARGV[1]) do
  local raw = redis.call('RPOP', KEYS[2])
  if not raw then return n - 1 end
  redis.call('RPUSH', KEYS[3], raw)
end
return tonumber(ARGV[1])
