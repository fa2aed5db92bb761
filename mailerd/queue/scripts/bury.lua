-- Moves a claim to the dead letters, its bytes unchanged.
-- KEYS 1 lease  2 own list  3 jobs  4 dead  5 letters  6 reasons of letters
-- ARGV 1 lease (ms)  2 raw  3 jid  4 letter id  5 reason
-- Returns 'ok' | 'lost' | 'gone'
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'lost' end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 'gone' end
redis.call('HSET', KEYS[5], ARGV[4], ARGV[2])
redis.call('HSET', KEYS[6], ARGV[4], ARGV[5])
redis.call('ZADD', KEYS[4], now_ms(), ARGV[4])
forget_job(KEYS[3], ARGV[3])
return 'ok'
