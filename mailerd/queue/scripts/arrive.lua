-- A worker has met this life of Redis, and told it what it may have forgotten.
-- KEYS 1 workers  2 arrivals  3 an unused key
-- ARGV 1 incarnation  2 era: which life of Redis  3 it was the worker itself (1), or its keeper (0), beside whom it
--      may still be at work in the life before
-- Returns the registered incarnations that have not. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[3])
local alerted = 'alerted ' .. ARGV[2]
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] == '1' and ARGV[2] or alerted)
end
local missing, known = {}, {}
for _, inc in ipairs(redis.call('HKEYS', KEYS[1])) do
  known[inc] = true
  local met = redis.call('HGET', KEYS[2], inc)
  if met ~= ARGV[2] and met ~= alerted then missing[#missing + 1] = inc end
end
for _, inc in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not known[inc] and inc ~= ARGV[1] then redis.call('HDEL', KEYS[2], inc) end
end
return missing
