-- Admits the next contacts of a job, or several short jobs of one batch, each as a whole: rows for those that the batch does not have yet, the counters, and,
-- when the job is being cut, slices of them and a ticket unless one goes round already. Those that a retried
-- dead letter opened again, and that are in no job yet, count as new ones. When nobody can get the mail, the new
-- ones fail at once, and those of a cancelled batch are cancelled at once: none is ever open without a job.
-- Whom a ring has told of, after a failover that forgot this job's admission, is as the ring told.
-- KEYS 1 lease  2 batch  3 ended  4 jobs  5 queue  6 side list  7… row hashes
-- ARGV 1 lease (ms)  2 client/batch  3 recipients in a slice (0: no cut)  4 ticket  5 first line of a slice
--      6 why nobody can get it, or ''  7 prefix of fields  8… for each job: jid, cursor that it must be at, how many
--      contacts, and as many pairs of row hash (from 1) and contact
-- Returns {'lost'} | for each job: {'moved', cursor, first time (1|0)} | {'ok', new rows, first time (1|0)}; a
--      delivery of a job begins at cursor 0, and it is the first time unless a delivery before it was given back.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local batch, jobs, prefix = KEYS[2], KEYS[4], ARGV[7]
local now = now_ms()
local letter, fresh = 'q', 'q'
if halt_of(batch) == 'cancelled' then
  letter = 'k'
  fresh = 'k' .. seconds_since_creation(batch, now) .. ',' .. why_number(batch, CANCELLED)
elseif ARGV[6] ~= '' then
  letter = 'f'
  fresh = 'f' .. seconds_since_creation(batch, now) .. ',' .. why_number(batch, ARGV[6])
end
local mine, delta, recipients = {}, {}, 0
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
  recipients = recipients + 1
  return as
end

-- How many of the contacts from..upto are this job's to work on; each is a pair in ARGV.
local function add_rows(from, upto)
  local before, plain, opened = #mine, 0, 0
  for i = from, upto, 2 do
    local key, field = KEYS[6 + tonumber(ARGV[i])], prefix .. ARGV[i + 1]
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
  count(delta, letter, plain)
  count(delta, 'q', -opened)
  recipients = recipients + plain - opened
  return #mine - before
end

-- What was promised when the batch was enqueued is counted already: as queued, or as cancelled since.
local promise = redis.call('HMGET', batch, 'promise', 'promised', 'promised_as')
local function take_from_the_promise(jid, brought)
  if promise[1] ~= jid then return end
  local counted = math.min(brought, tonumber(promise[2]))
  promise[2] = redis.call('HINCRBY', batch, 'promised', -counted)
  count(delta, promise[3] or 'q', -counted)
  recipients = recipients - counted
end

local function admit(jid, at, from, brought)
  local known = redis.call('HMGET', jobs, jid .. ':cursor', jid .. ':returned')
  local cursor, first = tonumber(known[1] or 0), at == 0 and 1 or 0
  if first == 1 and tonumber(known[2] or 0) > 0 then
    first = 0
    redis.call('HINCRBY', jobs, jid .. ':returned', -1)
  end
  if cursor ~= at then return {'moved', cursor, first} end
  local new = add_rows(from, from + 2 * brought - 1)
  redis.call('HSET', jobs, jid .. ':cursor', at + brought)
  take_from_the_promise(jid, brought)
  return {'ok', new, first}
end

local answers, i = {}, 8
while i <= #ARGV do
  local brought = tonumber(ARGV[i + 2])
  answers[#answers + 1] = admit(ARGV[i], tonumber(ARGV[i + 1]), i + 3, brought)
  i = i + 3 + 2 * brought
end
if recipients ~= 0 then add(batch, 'recipients', recipients) end
if next(delta) then book(batch, KEYS[3], ARGV[2], delta, now) end

local size = tonumber(ARGV[3])
if size > 0 and #mine > 0 and letter == 'q' then
  for from = 1, #mine, size do
    local upto = math.min(from + size - 1, #mine)
    redis.call('RPUSH', KEYS[6], ARGV[5] .. '\n' .. table.concat(mine, '\n', from, upto))
  end
  if redis.call('HSETNX', batch, 'ticket', 1) == 1 then redis.call('LPUSH', KEYS[5], ARGV[4]) end
end

return answers
