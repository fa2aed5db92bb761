-- Pins a batch to the template as it was at its first claim.
-- KEYS 1 batch  2 templates  3 users of each template
-- ARGV 1 digest  2 packed template  3 its policy for unknown ones: hold, resend or ''
-- Returns {digest, packed template} that the batch is pinned to, which another host may have pinned before.
local pinned = redis.call('HGET', KEYS[1], 'pinned')
if pinned then return {pinned, redis.call('HGET', KEYS[2], pinned)} end
redis.call('HSET', KEYS[1], 'pinned', ARGV[1], 'policy', ARGV[3])
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
return {ARGV[1], ARGV[2]}
