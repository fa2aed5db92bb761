-- A worker has met this life of Redis, and told it what it may have forgotten.
-- KEYS 1 workers  2 arrivals  3 an unused key
-- ARGV 1 incarnation  2 era: which life of Redis
-- Returns the registered incarnations that have not. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local missing, known = {}, {}
for _, inc in ipairs(redis.call('HKEYS', KEYS[1])) do
  known[inc] = true
  if redis.call('HGET', KEYS[2], inc) ~= ARGV[2] then missing[#missing + 1] = inc end
end
for _, inc in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not known[inc] and inc ~= ARGV[1] then redis.call('HDEL', KEYS[2], inc) end
end
return missing
