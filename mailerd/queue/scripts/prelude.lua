-- Stands in front of every script. Server time only; ids are never decoded and payloads never re-encoded.
--
-- A row is the state letter, the seconds from the batch's creation to the last change, and by state:
--   q<t>,,<attempts>,<first>        queued (a fresh row is the bare letter; q<t>,0 was opened again by a retried
--                                   dead letter and waits for the job that will take it along)
--   c<t>,<inc>,<attempts>,<first>   sending: claimed by that incarnation
--   d<t>,<why>,<attempts>,<first>   deferred; <first> = when it was deferred for the first time
--   u<t>,<inc>,<attempts>,<first>   unknown: handed over, answer lost; with an incarnation: it had it in hand, and
--                                   may yet be found not to have begun
--   s<t>                            sent
--   f|i|p|k|e|z<t>,<why>            failed, invalid, suppressed, cancelled, expired, discarded
-- <why> is the number of a reason in the batch's field "why:<reason>".
-- Behind that, until it ends, "?" says that an earlier hand-over is in doubt: it may have the mail. "?<inc>": only
-- because that incarnation had it in hand, which may yet be found not to have begun. Whoever is in doubt and gets no
-- mail any more is unknown, whatever else it would have been.
local STATE = {q = 'queued', c = 'sending', d = 'deferred', u = 'unknown', s = 'sent', f = 'failed',
  i = 'invalid', p = 'suppressed', k = 'cancelled', e = 'expired', z = 'discarded'}
local MOST_REASONS = 500

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function parse_row(row)
  local letter, t, number, attempts, first, doubt =
    string.match(row, '^(%a)(%d*),?(%d*),?(%d*),?(%d*)(%??%d*)$')
  return {letter = letter, t = tonumber(t) or 0, number = number or '',
    attempts = tonumber(attempts) or 0, first = first or '', doubt = doubt or ''}
end

-- What is written for one who is still open, or unknown; the rest of the row stays as it was.
local function row_of(letter, t, number, row)
  return letter .. t .. ',' .. number .. ',' .. row.attempts .. ',' .. row.first .. row.doubt
end

-- What is written for one who gets no mail.
local function ended_row(letter, t, why, row)
  if row.doubt ~= '' then return row_of('u', t, string.sub(row.doubt, 2), row) end
  return letter .. t .. ',' .. why
end

-- The doubt of one who was in that incarnation's hand, or ('') whose answer was lost.
local function in_doubt(row, inc)
  local doubt = '?' .. inc
  return (row.doubt == '' or row.doubt == doubt) and doubt or '?'
end

local function is_reopened(row)
  return string.match(row, '^q%d*,0$') ~= nil
end

local function seconds_since_creation(batch, now)
  local created = tonumber(redis.call('HGET', batch, 'created') or now)
  return math.max(0, math.floor((now - created) / 1000))
end

local function why_number(batch, reason)
  local field = 'why:' .. reason
  local known = redis.call('HGET', batch, field)
  if known then return known end
  local number = redis.call('HINCRBY', batch, 'reasons', 1)
  if number > MOST_REASONS then
    field = 'why:other (this batch has too many different reasons to keep them all; see the log)'
    number = MOST_REASONS + 1
  end
  redis.call('HSET', batch, field, number)
  return tostring(number)
end

local function count(delta, letter, n)
  delta[letter] = (delta[letter] or 0) + n
end

-- A key of the batch's queue: "totals" counts the recipients of all batches that are kept, by state and as accepted
-- ("recipients"); "attention" holds the batches in which only unknown ones are left.
local function of_queue(batch, name)
  return string.match(batch, '^{[^}]+}:') .. name
end

local function add_to_total(batch, counter, n)
  local totals = of_queue(batch, 'totals')
  if redis.call('HINCRBY', totals, counter, n) == 0 then redis.call('HDEL', totals, counter) end
end

-- Adds to a counter of the batch and to that of the queue.
local function add(batch, counter, n)
  redis.call('HINCRBY', batch, counter, n)
  add_to_total(batch, counter, n)
end

-- Books the changes of the counters; notes when the last open recipient is gone, or when one opens again.
local function book(batch, ended, tag, delta, now)
  for letter, n in pairs(delta) do
    if n ~= 0 then add(batch, STATE[letter], n) end
  end
  local open = redis.call('HMGET', batch, 'queued', 'sending', 'deferred', 'finished', 'unknown')
  local left = tonumber(open[1] or 0) + tonumber(open[2] or 0) + tonumber(open[3] or 0)
  if left == 0 and tonumber(open[5] or 0) > 0 then
    redis.call('SADD', of_queue(batch, 'attention'), tag)
  elseif open[5] then
    redis.call('SREM', of_queue(batch, 'attention'), tag)
  end
  if left == 0 and not open[4] then
    redis.call('HSET', batch, 'finished', now)
    redis.call('HDEL', batch, 'waiting_for')
    redis.call('ZADD', ended, now, tag)
  elseif left > 0 and open[4] then
    redis.call('HDEL', batch, 'finished')
    redis.call('ZREM', ended, tag)
  end
end

local function put_aside(retry, later, id, payload, due)
  redis.call('HSET', later, id, payload)
  redis.call('ZADD', retry, due, id)
end

-- A job that goes back is logged once more only if no worker had admitted it.
local function note_return(jobs, jid)
  if redis.call('HEXISTS', jobs, jid .. ':cursor') == 1 then
    redis.call('HINCRBY', jobs, jid .. ':returned', 1)
  end
end

local function forget_job(jobs, jid)
  redis.call('HDEL', jobs, jid .. ':cursor', jid .. ':deaths', jid .. ':returned', jid .. ':opened')
end

-- Takes jobs into an own list that is empty, the oldest first, and appends them to the answer: one, or several short
-- ones, at most one worker's share of the queue.
local function take_short(answer, own, queue, workers, most, longest, ours)
  if most == 0 then return end
  local share = math.floor(redis.call('LLEN', queue) / math.max(1, redis.call('HLEN', workers)))
  for n = 1, math.max(1, math.min(most, share)) do
    local raw = redis.call('LMOVE', queue, own, 'RIGHT', 'LEFT')
    if not raw then return end
    local short = #raw <= longest and string.sub(raw, 1, #ours) ~= ours
    if n > 1 and not short then
      redis.call('LMOVE', own, queue, 'LEFT', 'RIGHT')
      return
    end
    answer[#answer + 1] = raw
    if not short then return end
  end
end

-- Remembers whose the batch of that id is; several clients may each have one.
local function note_client(clients, batch_id, client)
  if redis.call('HSETNX', clients, batch_id, client) == 0 then
    redis.call('HSET', clients, batch_id, redis.call('HGET', clients, batch_id) .. ' ' .. client)
  end
end

-- Makes a new batch findable: by its id alone, and by age among all and among its client's.
local function note_batch(clients, index, own_index, client, batch_id, now)
  note_client(clients, batch_id, client)
  redis.call('ZADD', index, now, client .. '/' .. batch_id)
  redis.call('ZADD', own_index, now, client .. '/' .. batch_id)
end

-- The record of a new batch that is enqueued: its recipients are promised by that job until it is admitted.
-- The queue's totals are the caller's.
local function register(batch, now, template, variables, buckets, digest, request, recipients, jid, expires)
  redis.call('HSET', batch, 'created', now, 'template', template, 'variables', variables, 'buckets', buckets,
    'digest', digest, 'request', request, 'promised', recipients, 'promise', jid, 'recipients', recipients,
    'queued', recipients)
  if expires ~= '' then redis.call('HSET', batch, 'expires', expires) end
end

-- New recipients of that batch, or of others of its queue, in the queue's totals.
local function add_to_totals(batch, recipients)
  local totals = of_queue(batch, 'totals')
  redis.call('HINCRBY', totals, 'recipients', recipients)
  redis.call('HINCRBY', totals, 'queued', recipients)
end

-- What an operator has said of the batch: 'paused', 'cancelled' or ''.
local function halt_of(batch)
  return redis.call('HGET', batch, 'halt') or ''
end

local CANCELLED = 'the batch was cancelled'

