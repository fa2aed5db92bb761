-- Brings what is due back to the tail of the queue.
-- KEYS 1 queue  2 retry  3 later
-- ARGV 1 at most
-- Returns how many.
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms(), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local payload = redis.call('HGET', KEYS[3], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
  if payload then redis.call('LPUSH', KEYS[1], payload) end
end
return #due
