-- Parks a claim of a paused batch; if it was resumed in the meantime, the claim goes back to the queue.
-- KEYS 1 lease  2 own list  3 jobs  4 queue  5 batch  6 parked
-- ARGV 1 lease (ms)  2 raw  3 jid
-- Returns 'ok' | 'lost' | 'gone'
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'lost' end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 'gone' end
redis.call('RPUSH', halt_of(KEYS[5]) == 'paused' and KEYS[6] or KEYS[4], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[3] .. ':deaths', ARGV[3] .. ':opened')
note_return(KEYS[3], ARGV[3])
return 'ok'
