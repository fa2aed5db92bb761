-- Gives a worker a new incarnation: a number that no other ever had, even if a failover forgot the last one, or if
-- an old master that does not know yet that it is none gives another one at the same time: two workers of one number
-- would have one lease, one hand and one another's claims. So it counts microseconds (since 2026).
-- KEYS 1 last number  2 workers  3 an unused key  4 arrivals  5 graves
-- ARGV 1 prefix of lease keys  2 lease (ms)  3 where it runs (JSON)  4 the life of Redis that its worker has met and
--      told all, '' for none: it has nothing more to tell, so nobody waits for it there
-- Returns the number. Arrivals of those who are registered no more are forgotten, but of the dead only after a while:
-- one who had read their hands before they arrived may be slow to tell it, and is not to be believed then either.
-- The UNLINK makes the script pass when Redis is full.
local WHILE = 600
redis.call('UNLINK', KEYS[3])
local t = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or 0)
local number = string.format('%.0f', math.max(last + 1, (t[1] - 1767225600) * 1000000 + t[2]))
redis.call('SET', KEYS[1], number)
redis.call('SET', ARGV[1] .. number, '1', 'PX', ARGV[2])
redis.call('HSET', KEYS[2], number, ARGV[3])
for _, inc in ipairs(redis.call('HKEYS', KEYS[4])) do
  local buried = tonumber(redis.call('ZSCORE', KEYS[5], inc) or 0) / 1000
  if redis.call('HEXISTS', KEYS[2], inc) == 0 and buried < t[1] - WHILE then redis.call('HDEL', KEYS[4], inc) end
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], number, ARGV[4]) end
return number
