-- An incarnation leaves in order. It goes to the graves all the same: where its last claim was broken off, a
-- BLMOVE of its may still be parked in the server and deliver to its list later.
-- KEYS 1 lease  2 own list  3 workers  4 graves
-- ARGV 1 incarnation
-- Returns 1, or 0: it still holds a job, which the janitor will return.
redis.call('DEL', KEYS[1])
if redis.call('LLEN', KEYS[2]) > 0 then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], 'NX', now_ms(), ARGV[1])
return 1
