-- Tells a Redis that may have forgotten it (a failover, a crash) what claims came to. A final state stays.
-- A recipient without a row is remembered until its job is admitted (again).
-- KEYS 1 batch  2 ended  3 tombstone  4 told  5 an unused key  6… row hashes
-- ARGV 1 client/batch  2 prefix of fields  3… quintuples of row hash (from 1), contact, letter (s sent, u unknown,
--      c in hand, r: its claim is over and it has no mail), incarnation, when (seconds since the epoch)
-- Returns how many recipients were not known to be so. The UNLINK makes the script pass when Redis is full.
redis.call('UNLINK', KEYS[5])
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local TOLD_MS, LEEWAY = 30 * 86400000, 60
local batch, now = KEYS[1], now_ms()
local created = tonumber(redis.call('HGET', batch, 'created') or now)
local since = seconds_since_creation(batch, now)
local delta, news = {}, 0

-- Whether the row was last changed before that, give or take the clocks: later news, such as an operator's, win.
local function is_older(row, at)
  return row.t <= math.max(0, at - math.floor(created / 1000)) + LEEWAY
end

local function becomes(row, to, inc, at)
  local held, waits = row.letter == 'c' or row.letter == 'u', row.letter == 'q' or row.letter == 'd'
  if to == 's' then return held or waits end
  if to == 'r' then return row.letter == 'c' and row.number == inc end
  if to == 'u' and row.letter == 'c' and row.number == inc then return true end
  return waits and is_older(row, at)
end

local function remember(contact, to, inc)
  local known = redis.call('HGET', KEYS[4], contact)
  if known and (to == 'c' or string.sub(known, 1, 1) == 's') then return end
  redis.call('HSET', KEYS[4], contact, to .. ',' .. inc)
  redis.call('PEXPIRE', KEYS[4], TOLD_MS)
  news = news + 1
end

for i = 3, #ARGV, 5 do
  local key, contact, to, inc = KEYS[5 + tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local old = redis.call('HGET', key, ARGV[2] .. contact)
  local row = old and parse_row(old)
  if not row then
    if to ~= 'r' then remember(contact, to, inc) end
  elseif becomes(row, to, inc, tonumber(ARGV[i + 4])) then
    if to == 'r' then to = halt_of(batch) == 'cancelled' and 'k' or 'q' end
    local rest = ''
    if to == 'k' then rest = ',' .. why_number(batch, CANCELLED) end
    if to == 'q' or to == 'u' then rest = ',,' .. row.attempts .. ',' .. row.first end
    if to == 'c' then rest = ',' .. inc .. ',' .. row.attempts .. ',' .. row.first end
    redis.call('HSET', key, ARGV[2] .. contact, to .. since .. rest)
    count(delta, row.letter, -1)
    count(delta, to, 1)
    news = news + 1
  end
end
if next(delta) then book(batch, KEYS[2], ARGV[1], delta, now) end
return news
