-- A worker has met this life of Redis, and told it what it may have forgotten: after that, in a script of its own.
-- Between the two nothing is asked of this life by that worker, so whoever dies there has a hand as it told of it.
-- This life may have forgotten that it was registered, too. A job that it takes now would lie in a hand at which
-- nobody looks, should it die, or be lost to the next life, before it learns that its lease is gone.
-- KEYS 1 workers  2 arrivals  3 an unused key
-- ARGV 1 incarnation  2 era: which life of Redis  3 it was the worker itself (1), or its keeper (0), beside whom it
--      may still be at work in the life before  4 where it runs (JSON)
-- Returns the registered incarnations that have not. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[3])
-- Who has a name of the supervisor's yet is still to be registered.
if string.find(ARGV[1], '^%d+$') then redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[4]) end
local alerted = 'alerted ' .. ARGV[2]
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] == '1' and ARGV[2] or alerted)
end
local missing = {}
for _, inc in ipairs(redis.call('HKEYS', KEYS[1])) do
  local met = redis.call('HGET', KEYS[2], inc)
  if met ~= ARGV[2] and met ~= alerted then missing[#missing + 1] = inc end
end
return missing
