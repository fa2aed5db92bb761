-- Renews a lease that still lives; a lapsed one is never revived.
-- KEYS 1 lease  2 workers
-- ARGV 1 lease (ms)  2 incarnation  3 where it runs (JSON)
-- Returns 1, or 0: lapsed.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3])
return 1
