-- Notes what the account grants, and lets nobody else ask for a while.
-- KEYS 1 lease  2 when the account is to be asked again  3 the limit of the route
-- ARGV 1 lease (ms)  2 ask again in (ms)  3 mails in a second  4 in 24 hours  5 sent in the last 24 hours; 0, 0, 0 where
--      it grants any number, or does not say
-- Returns 1. A pause for the day's quota is over where the account has some left.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], 1, 'PX', ARGV[2])
local limit = read_limit(KEYS[3], 0, 0, now_ms())
limit.day = tonumber(ARGV[4])
local foreign = math.max(0, tonumber(ARGV[5]) - used_today(limit) + limit.foreign)
redis.call('HSET', KEYS[3], 'seeded', 1, 'granted', ARGV[3], 'granted_day', ARGV[4], 'foreign', foreign)
if limit.day > 0 and tonumber(ARGV[5]) < limit.day then redis.call('HDEL', KEYS[3], 'paused', 'why') end
redis.call('PEXPIRE', KEYS[3], KEPT)
return 1
