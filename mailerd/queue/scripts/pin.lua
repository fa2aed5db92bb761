-- Pins a batch to the template as it was at its first claim.
-- KEYS 1 lease  2 batch  3 templates  4 users of each template
-- ARGV 1 lease (ms)  2 digest  3 packed template  4 its policy for unknown ones: hold, resend or ''
--      5 domain of its Message-IDs or ''
-- Returns {'lost'} | {'ok', digest, packed template, policy} that the batch is pinned to, which another host may
--      have pinned before. The lease comes first so that the script passes when Redis is full.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local known = redis.call('HMGET', KEYS[2], 'pinned', 'policy')
if known[1] then return {'ok', known[1], redis.call('HGET', KEYS[3], known[1]), known[2]} end
redis.call('HSET', KEYS[2], 'pinned', ARGV[2], 'policy', ARGV[4], 'domain', ARGV[5])
redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[4], ARGV[2], 1)
return {'ok', ARGV[2], ARGV[3], ARGV[4]}
