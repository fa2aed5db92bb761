-- Acks the jobs that are done and takes what is to be done next: what is still in the own list (an answer may have
-- been lost), else several short jobs from the queue.
-- KEYS 1 lease  2 own list  3 queue  4 workers  5 jobs
-- ARGV 1 lease (ms)  2 at most so many (0: none)  3 longest short job (bytes)  4 how ours begin, which are never
--      taken with others  5… pairs of raw and jid of those done
-- Returns {'lost'} | {'ok', the jobs in the own list, the oldest first}. Never more than one worker's share of the
-- queue. Since it looks into the own list first, repeating it takes nothing more.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
for i = 5, #ARGV, 2 do
  if redis.call('LREM', KEYS[2], -1, ARGV[i]) == 1 then forget_job(KEYS[5], ARGV[i + 1]) end
end
local hand = redis.call('LRANGE', KEYS[2], 0, -1)
local answer = {'ok'}
for i = #hand, 1, -1 do answer[#answer + 1] = hand[i] end
local most = tonumber(ARGV[2])
if #hand > 0 or most == 0 then return answer end

local share = math.floor(redis.call('LLEN', KEYS[3]) / math.max(1, redis.call('HLEN', KEYS[4])))
for n = 1, math.max(1, math.min(most, share)) do
  local raw = redis.call('LINDEX', KEYS[3], -1)
  if not raw then break end
  local short = #raw <= tonumber(ARGV[3]) and string.sub(raw, 1, #ARGV[4]) ~= ARGV[4]
  if n > 1 and not short then break end
  redis.call('LPUSH', KEYS[2], redis.call('RPOP', KEYS[3]))
  answer[#answer + 1] = raw
  if not short then break end
end
return answer
