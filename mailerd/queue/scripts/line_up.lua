-- Acks a claim of which some recipients wait for limits: they stand in line, a piece each time, at the limit's rate.
-- KEYS 1 lease  2 own list  3 jobs  4 retry  5 later  6 batch  7 the limits with a line  8… the lines
-- ARGV 1 lease (ms)  2 raw  3 jid  4 id of the rest or ''  5 payload of the rest  6 delay (ms)  7 what the batch
--      waits for  8 1 (they were called up in vain, and stand in front again) | 0  9… triples of the limit's name,
--      its line (from 1) and the piece
-- Returns 'ok' | 'lost' | 'gone' (not in our list: somebody else's, or acked before a lost answer)
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'lost' end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 'gone' end
forget_job(KEYS[3], ARGV[3])
if ARGV[4] ~= '' then put_aside(KEYS[4], KEYS[5], ARGV[4], ARGV[5], now_ms() + tonumber(ARGV[6])) end
local first, last, step, push = 9, #ARGV - 2, 3, 'RPUSH'
if ARGV[8] == '1' then first, last, step, push = last, first, -3, 'LPUSH' end
for i = first, last, step do
  redis.call('SADD', KEYS[7], ARGV[i])
  redis.call(push, KEYS[7 + tonumber(ARGV[i + 1])], ARGV[i + 2])
end
if redis.call('EXISTS', KEYS[6]) == 1 then redis.call('HSET', KEYS[6], 'waiting_for', ARGV[7]) end
return 'ok'
