-- Admits the next contacts of a job: rows for those that the batch does not have yet, the counters, and,
-- when the job is being cut, slices of them and a ticket unless one goes round already. Those that a retried
-- dead letter opened again, and that are in no job yet, count as new ones. When nobody can get the mail, the new
-- ones fail at once, and those of a cancelled batch are cancelled at once: none is ever open without a job.
-- Whom a ring has told of, after a failover that forgot this job's admission, is as the ring told.
-- KEYS 1 lease  2 batch  3 ended  4 jobs  5 queue  6 side list  7… row hashes
-- ARGV 1 lease (ms)  2 client/batch  3 jid  4 cursor that the job must be at  5 recipients in a slice (0: no cut)
--      6 ticket  7 first line of a slice  8 why nobody can get it, or ''
--      9 prefix of fields  10… pairs of row hash (from 1) and contact
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

local now = now_ms()
local letter, fresh = 'q', 'q'
if halt_of(batch) == 'cancelled' then
  letter = 'k'
  fresh = 'k' .. seconds_since_creation(batch, now) .. ',' .. why_number(batch, CANCELLED)
elseif ARGV[8] ~= '' then
  letter = 'f'
  fresh = 'f' .. seconds_since_creation(batch, now) .. ',' .. why_number(batch, ARGV[8])
end
local mine, opened, brought, delta = {}, 0, (#ARGV - 9) / 2, {}
local plain, remembered = 0, 0
local told = of_queue(batch, 'told:' .. ARGV[2])
local has_told = redis.call('EXISTS', told) == 1

local function as_told(key, field, contact)
  local what = has_told and redis.call('HGET', told, contact)
  if not what then return nil end
  local as, inc = string.match(what, '^(%a),(%d+)$')
  local rest = {s = '', u = ',,0,', c = ',' .. inc .. ',0,'}
  redis.call('HSET', key, field, as .. seconds_since_creation(batch, now) .. rest[as])
  redis.call('HDEL', told, contact)
  count(delta, as, 1)
  remembered = remembered + 1
  return as
end

for i = 10, #ARGV, 2 do
  local key, field = KEYS[6 + tonumber(ARGV[i])], ARGV[9] .. ARGV[i + 1]
  if redis.call('HSETNX', key, field, fresh) == 1 then
    local as = as_told(key, field, ARGV[i + 1])
    if not as then plain = plain + 1 end
    if not as or as == 'c' then mine[#mine + 1] = ARGV[i + 1] end
  elseif is_reopened(redis.call('HGET', key, field)) then
    redis.call('HSET', key, field, fresh)
    mine[#mine + 1] = ARGV[i + 1]
    plain = plain + 1
    opened = opened + 1
  end
end
redis.call('HSET', jobs, jid .. ':cursor', at + brought)

-- What was promised when the batch was enqueued is counted already: as queued, or as cancelled since.
local counted = 0
local promise = redis.call('HMGET', batch, 'promise', 'promised', 'promised_as')
if promise[1] == jid then
  counted = math.min(brought, tonumber(promise[2]))
  redis.call('HINCRBY', batch, 'promised', -counted)
end
count(delta, letter, plain)
count(delta, 'q', -opened)
count(delta, promise[3] or 'q', -counted)
add(batch, 'recipients', plain + remembered - opened - counted)
book(batch, KEYS[3], ARGV[2], delta, now)

local size = tonumber(ARGV[5])
if size > 0 and #mine > 0 and letter == 'q' then
  for from = 1, #mine, size do
    local upto = math.min(from + size - 1, #mine)
    redis.call('RPUSH', KEYS[6], ARGV[7] .. '\n' .. table.concat(mine, '\n', from, upto))
  end
  if redis.call('HSETNX', batch, 'ticket', 1) == 1 then redis.call('LPUSH', KEYS[5], ARGV[6]) end
end

return {'ok', #mine, first}
