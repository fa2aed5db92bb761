-- Acks the jobs that are done and takes what is to be done next: what is still in the own list (an answer may have
-- been lost), else several short jobs from the queue.
-- KEYS 1 lease  2 own list  3 queue  4 workers  5 jobs
-- ARGV 1 lease (ms)  2 at most so many (0: none)  3 longest short job (bytes)  4 how ours begin, which are never
--      taken with others  5… pairs of raw and jid of those done
-- Returns {'lost'} | {'ok', 'found' or 'taken', the jobs in the own list, the oldest first}. Never more than one worker's share of the
-- queue. Since it looks into the own list first, repeating it takes nothing more.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
for i = 5, #ARGV, 2 do
  if redis.call('LREM', KEYS[2], -1, ARGV[i]) == 1 then forget_job(KEYS[5], ARGV[i + 1]) end
end
local hand = redis.call('LRANGE', KEYS[2], 0, -1)
local answer = {'ok', #hand > 0 and 'found' or 'taken'}
for i = #hand, 1, -1 do answer[#answer + 1] = hand[i] end
if #hand == 0 then take_short(answer, KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]) end
return answer
