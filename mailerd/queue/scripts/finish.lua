-- Acks a claim; what is left of it may be put aside as a small job until due.
-- KEYS 1 lease  2 own list  3 jobs  4 retry  5 later
-- ARGV 1 lease (ms)  2 raw  3 jid  4 id of the rest or ''  5 payload of the rest  6 delay (ms)
-- Returns 'ok' | 'lost' | 'gone' (not in our list: somebody else's, or acked before a lost answer)
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'lost' end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 'gone' end
forget_job(KEYS[3], ARGV[3])
if ARGV[4] ~= '' then put_aside(KEYS[4], KEYS[5], ARGV[4], ARGV[5], now_ms() + tonumber(ARGV[6])) end
return 'ok'
