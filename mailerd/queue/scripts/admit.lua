-- Admits the next contacts of a job: rows for those that the batch does not have yet, the counters, and,
-- when the job is being cut, slices of the new ones and a ticket unless one goes round already.
-- KEYS 1 lease  2 batch  3 ended  4 jobs  5 queue  6 side list  7… row hashes
-- ARGV 1 lease (ms)  2 client/batch  3 jid  4 cursor that the job must be at  5 recipients in a slice (0: no cut)
--      6 ticket  7 first line of a slice  8 prefix of fields  9… pairs of row hash (from 1) and contact
-- Returns {'lost'} | {'moved', cursor, first time (1|0)} | {'ok', new rows, first time (1|0)}; a delivery of
--      the job begins at cursor 0, and it is the first time unless a delivery before it was given back.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local batch, jobs, jid, at = KEYS[2], KEYS[4], ARGV[3], tonumber(ARGV[4])
local first = at == 0 and 1 or 0
local returned = tonumber(redis.call('HGET', jobs, jid .. ':returned') or 0)
if first == 1 and returned > 0 then
  first = 0
  redis.call('HINCRBY', jobs, jid .. ':returned', -1)
end
local cursor = tonumber(redis.call('HGET', jobs, jid .. ':cursor') or 0)
if cursor ~= at then return {'moved', cursor, first} end

local new, brought = {}, (#ARGV - 8) / 2
for i = 9, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[6 + tonumber(ARGV[i])], ARGV[8] .. ARGV[i + 1], 'q') == 1 then
    new[#new + 1] = ARGV[i + 1]
  end
end
redis.call('HSET', jobs, jid .. ':cursor', at + brought)

-- What was promised when the batch was enqueued is counted as queued already.
local counted = 0
local promise = redis.call('HMGET', batch, 'promise', 'promised')
if promise[1] == jid then
  counted = math.min(brought, tonumber(promise[2]))
  redis.call('HINCRBY', batch, 'promised', -counted)
end
local delta = {}
count(delta, 'q', #new - counted)
redis.call('HINCRBY', batch, 'recipients', #new - counted)
book(batch, KEYS[3], ARGV[2], delta, now_ms())

local size = tonumber(ARGV[5])
if size > 0 and #new > 0 then
  for from = 1, #new, size do
    redis.call('RPUSH', KEYS[6], ARGV[7] .. '\n' .. table.concat(new, '\n', from, math.min(from + size - 1, #new)))
  end
  if redis.call('HSETNX', batch, 'ticket', 1) == 1 then redis.call('LPUSH', KEYS[5], ARGV[6]) end
end

return {'ok', #new, first}
