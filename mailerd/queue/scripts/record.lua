-- Records a job that a literal BRPOP has popped (queue.fetch = "brpop") in the worker's own list.
-- KEYS 1 lease  2 own list
-- ARGV 1 lease (ms)  2 raw
-- Returns 1. The lease comes first so that the script passes when Redis is full; a lapsed one is no reason
-- to drop the job: the own list of a dead incarnation is looked at too. Repeating it changes nothing.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if redis.call('LINDEX', KEYS[2], 0) ~= ARGV[2] then redis.call('LPUSH', KEYS[2], ARGV[2]) end
return 1
