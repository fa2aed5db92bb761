-- Puts a dead letter back on the queue, at an operator's word.
-- KEYS 1 queue  2 dead  3 letters  4 reasons of letters
-- ARGV 1 letter id
-- Returns 1, or 0: no such letter.
local raw = redis.call('HGET', KEYS[3], ARGV[1])
if not raw then return 0 end
redis.call('LPUSH', KEYS[1], raw)
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
return 1
