-- Books what became of recipients, for the incarnation that claimed them; the janitor calls it too, for a
-- dead incarnation. The mail was sent whether or not the lease still lives, so a lapsed lease refuses only
-- what was never claimed; it is renewed first because that lets the script pass when Redis is full.
-- KEYS 1 lease  2 batch  3 ended  4 jobs  5 retry  6 later  7… row hashes
-- ARGV 1 lease (ms)  2 client/batch  3 incarnation  4 jid or ''
--      5-7 the small job of those deferred: id, payload, delay (ms)
--      8-9 other small jobs: id ('' where all were sent), first line
--      10 prefix of fields  11… quadruples of row hash (from 1), contact, state letter, reason
-- Returns how many rows got another state. Letter q releases a claim; u says that the answer is lost, d? that it
-- is and that the mail is sent again. Whoever would be tried again is cancelled with its batch.
-- A small job of their own get those that turn out never handed over, at once, and after a lease those whom another
-- living incarnation has in hand: the job of this one is about to end, and a failover may have made it the only one.
local lives = redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1
local batch, inc, now = KEYS[2], ARGV[3], now_ms()
local since = seconds_since_creation(batch, now)
local delta, changed, deferred, moved, reopened, in_hand = {}, 0, false, false, {}, {}

local cancelled = halt_of(batch) == 'cancelled'
local lease_prefix = string.sub(KEYS[1], 1, #KEYS[1] - #inc)

-- The letter that the row gets, or nothing. One that a dead incarnation had in hand may have been handed over:
-- whatever is found out about it now but 's', it is unknown. Its own incarnation may know better, unless it was
-- this that said so.
local function becomes(row, to)
  local held = row.letter == 'c' or row.letter == 'u'
  local waits = row.letter == 'q' or row.letter == 'd'
  if to == 's' then return (held or waits) and to end
  if held and row.number == inc then return row.letter ~= to and to end
  if row.letter == 'c' then return lives and redis.call('EXISTS', lease_prefix .. row.number) == 0 and 'u' end
  return waits and lives and row.letter ~= to and to ~= 'q' and to ~= 'u' and to
end

local function value(row, to, reason)
  if to == 's' then return 's' .. since end
  if to == 'u' and row.number ~= inc then return row_of('u', since, row.number, row) end
  if to == 'u' then row.doubt = '' end
  if to == 'u' or to == 'q' then return row_of(to, since, '', row) end
  local why = why_number(batch, reason)
  if to ~= 'd' then return ended_row(to, since, why, row) end
  row.attempts, row.first = row.attempts + 1, row.first ~= '' and row.first or since
  return row_of('d', since, why, row)
end

-- What its doubt comes to by this incarnation's word, whoever has it in hand now.
local function doubt_after(row, to, is_lost)
  if to ~= 's' and row.doubt == '?' .. inc then return (is_lost or to == 'u') and '?' or '' end
  return row.doubt
end

local function put_small_job_aside(id, contacts, due)
  if #contacts == 0 then return end
  put_aside(KEYS[5], KEYS[6], id, ARGV[9] .. '\n' .. table.concat(contacts, '\n'), due)
end

for i = 11, #ARGV, 4 do
  local key, field = KEYS[6 + tonumber(ARGV[i])], ARGV[10] .. ARGV[i + 1]
  local old = redis.call('HGET', key, field)
  local row = old and parse_row(old)
  local letter, reason = string.sub(ARGV[i + 2], 1, 1), ARGV[i + 3]
  local is_lost = ARGV[i + 2] == 'd?'
  local to = row and becomes(row, letter)
  local doubt = row and doubt_after(row, letter, is_lost)
  if cancelled and (to == 'q' or to == 'd') then to, reason = 'k', CANCELLED end
  if to then
    row.doubt = is_lost and '?' or doubt
    local new = value(row, to, reason)
    redis.call('HSET', key, field, new)
    moved = moved or to ~= 'q'
    count(delta, row.letter, -1)
    count(delta, string.sub(new, 1, 1), 1)
    changed = changed + 1
    deferred = deferred or to == 'd'
    if to == 'q' and row.letter == 'u' then reopened[#reopened + 1] = ARGV[i + 1] end
  elseif row then
    if lives and row.letter == 'c' and row.number ~= inc then in_hand[#in_hand + 1] = ARGV[i + 1] end
    if doubt ~= row.doubt then
      row.doubt = doubt
      redis.call('HSET', key, field, row_of(row.letter, row.t, row.number, row))
    end
  end
end
if deferred then put_aside(KEYS[5], KEYS[6], ARGV[5], ARGV[6], now + tonumber(ARGV[7])) end
put_small_job_aside(ARGV[8], reopened, now)
put_small_job_aside(ARGV[8] .. ':in-hand', in_hand, now + tonumber(ARGV[1]))
if changed > 0 then
  book(batch, KEYS[3], ARGV[2], delta, now)
  if moved then redis.call('HDEL', batch, 'waiting_for') end
  if ARGV[4] ~= '' then redis.call('HDEL', KEYS[4], ARGV[4] .. ':deaths') end
end
return changed
