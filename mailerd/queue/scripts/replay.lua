-- Tells a Redis that may have forgotten it (a failover, a crash) what claims came to. A final state stays.
-- A recipient without a row is remembered until its job is admitted (again).
-- KEYS 1 batch  2 ended  3 tombstone  4 told  5 an unused key  6 retry  7 later  8 arrivals  9… row hashes
-- ARGV 1 client/batch  2 era: which life of Redis  3-4 the small job of those that turn out to have no mail: id,
--      payload  5 prefix of fields  6… quintuples of row hash (from 1), contact, letter (s sent, u unknown,
--      c in hand, r: its claim is over and it has no mail), incarnation, when (seconds since the epoch)
-- Returns how many recipients were not known to be so. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[5])
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local TOLD_MS, LEEWAY = 30 * 86400000, 60
local batch, now = KEYS[1], now_ms()
local created = tonumber(redis.call('HGET', batch, 'created') or now)
local since = seconds_since_creation(batch, now)
local delta, news, reopened = {}, 0, false
local cancelled = halt_of(batch) == 'cancelled'

local function seconds_of(at)
  return math.max(0, at - math.floor(created / 1000))
end

-- Whether the row was last changed before that, give or take the clocks: later news, such as an operator's, win.
local function is_older(row, at)
  return row.t <= seconds_of(at) + LEEWAY
end

-- An incarnation's own word is proof also of whom others took over from it, unless it was this that said u.
local function becomes(row, to, inc, at)
  local held, waits = row.letter == 'c' or row.letter == 'u', row.letter == 'q' or row.letter == 'd'
  if to == 's' then return held or waits end
  if held and row.number == inc then return to ~= 'c' end
  if to == 'u' and row.doubt ~= '' then return false end
  return waits and to ~= 'r' and is_older(row, at)
end

-- What its doubt comes to by that incarnation's word, whoever has it in hand now.
local function doubt_after(row, to, inc)
  if row.doubt == '?' .. inc and (to == 'r' or to == 'u') then return to == 'u' and '?' or '' end
  return row.doubt
end

local function remember(contact, to, inc)
  local known = redis.call('HGET', KEYS[4], contact)
  if to == 'r' then
    if known == 'c,' .. inc then redis.call('HDEL', KEYS[4], contact) end
    return
  end
  if known and (to == 'c' or string.sub(known, 1, 1) == 's') then return end
  redis.call('HSET', KEYS[4], contact, to .. ',' .. inc)
  redis.call('PEXPIRE', KEYS[4], TOLD_MS)
  news = news + 1
end

local function value(row, to, inc, at)
  if to == 'k' then return ended_row('k', since, why_number(batch, CANCELLED), row) end
  if to == 'u' then row.doubt = '' end
  if to == 'u' then return row_of('u', since, '', row) end
  if to == 'c' then return row_of('c', since, inc, row) end
  -- Since it was said, not since it is heard: another's word that is younger is to win.
  if to == 'q' then return row_of('q', math.max(row.t, math.min(since, seconds_of(at))), '', row) end
  return 's' .. since
end

for i = 6, #ARGV, 5 do
  local key, contact, to, inc = KEYS[8 + tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local at = tonumber(ARGV[i + 4])
  local old = redis.call('HGET', key, ARGV[5] .. contact)
  local row = old and parse_row(old)
  local doubt = row and doubt_after(row, to, inc)
  if to == 'c' and redis.call('HGET', KEYS[8], inc) == ARGV[2] then
    -- Its worker has told all meanwhile, and may have booked what came of it.
  elseif not row then
    remember(contact, to, inc)
  elseif becomes(row, to, inc, at) then
    if to == 'r' then to = cancelled and 'k' or 'q' end
    row.doubt = doubt
    local new = value(row, to, inc, at)
    redis.call('HSET', key, ARGV[5] .. contact, new)
    reopened = reopened or (to == 'q' and row.letter == 'u')
    count(delta, row.letter, -1)
    count(delta, string.sub(new, 1, 1), 1)
    news = news + 1
  elseif doubt ~= row.doubt then
    row.doubt = doubt
    redis.call('HSET', key, ARGV[5] .. contact, row_of(row.letter, row.t, row.number, row))
  end
end
if reopened then put_aside(KEYS[6], KEYS[7], ARGV[3], ARGV[4], now) end
if next(delta) then book(batch, KEYS[2], ARGV[1], delta, now) end
return news
