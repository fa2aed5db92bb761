-- An incarnation leaves in order: its list is empty and no claim of its is parked in the server.
-- KEYS 1 lease  2 own list  3 workers
-- ARGV 1 incarnation
-- Returns 1, or 0: it still holds a job, which the janitor will return.
redis.call('DEL', KEYS[1])
if redis.call('LLEN', KEYS[2]) > 0 then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
return 1
