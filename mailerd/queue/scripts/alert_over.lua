-- Notes that what was out of order is in order again.
-- KEYS 1 alert
-- ARGV 1 how long quiet lasts (ms)
-- Returns 1: that is to be told; 0: somebody has told it.
local known = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return known == '' and 0 or 1
