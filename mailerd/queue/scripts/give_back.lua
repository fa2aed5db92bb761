-- Gives a claim back to the head of the queue: interrupted is not failed.
-- KEYS 1 lease  2 own list  3 queue  4 jobs  5 batch (or an unused key)
-- ARGV 1 lease (ms)  2 raw  3 jid  4 what the batch waits for, or ''
-- Returns 'ok' | 'lost' | 'gone'
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'lost' end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 'gone' end
redis.call('RPUSH', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[3] .. ':deaths', ARGV[3] .. ':opened')
note_return(KEYS[4], ARGV[3])
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[5]) == 1 then redis.call('HSET', KEYS[5], 'waiting_for', ARGV[4]) end
return 'ok'
