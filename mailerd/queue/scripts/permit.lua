-- Gives back the permits of a group and takes those for the next one, under all limits that either falls under.
-- KEYS 1 lease  2 when the account is to be asked again  3… the limits: a hash each, and beside it :hand (permits by
--      incarnation, "<call> <n>"), :rest (permits used lately, by when they are free again) and :day (mails by
--      the slot in which they came back)
-- ARGV 1 lease (ms)  2 incarnation  3 prefix of lease keys  4 number of this call; a repeat has the same
--      5 JSON: {account: the first limit is also what the account grants, called: they stood in line, and pass it,
--        limits: [{rate, day, ages: [ms since each permit's answer], refund: mails that count for no day,
--          slow: this worker's mails a second when it was throttled, or 0; pause: ms, why: words}],
--        kinds: [{n, of: [numbers of limits]}]}: n permits under each of these limits at once
-- Returns {'lost'} | {'ok', ask (1: this worker is to ask about the account), kinds, limits}; a kind:
--      {granted, wait (ms) for more, number of the limit that it waits for, 'rate'|'day'|'pause'|'account'|'line'}, the
--      last three 0 and '' where all are granted; a limit: {rate ('0': none), day, 1 (it is used up or paused as of now)
--      | -1 (no longer) | 0, words, 1 (it limits nothing now) | 0}
-- A rate r is ceil(r) permits, each at rest for ceil(r)/r seconds after its answer: no second sees more.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local inc, now, asked = ARGV[2], now_ms(), cjson.decode(ARGV[5])
local limits = {}

for i, told in ipairs(asked.limits) do
  local limit = read_limit(KEYS[2 + i], told.rate, told.day, now)
  limits[i] = limit
  if told.slow ~= 0 then slow_down(limit, told.slow) end
  give_back(limit, inc, ARGV[4], told.ages, told.refund)
  if told.pause > 0 then pause_limit(limit, told.pause, told.why) end
end

local ask = 0
if asked.account and redis.call('SET', KEYS[2], inc, 'NX', 'PX', 15000) then ask = 1 end

local function free_of(limit, i)
  if asked.account and i == 1 and not limit.seeded then return 0, 'account' end
  if limit.paused > now then return 0, 'pause' end
  if not asked.called and redis.call('EXISTS', limit.key .. ':line') == 1 then return 0, 'line' end
  local left = math.huge
  if limit.day > 0 then
    free_the_dead(limit, ARGV[3])
    left = limit.day - used_today(limit)
    if left <= 0 then return 0, 'day' end
  end
  if limit.rate == 0 then return left, 'day' end
  local permits = limit.permits - in_use(limit)
  if permits < asked.most then
    free_the_dead(limit, ARGV[3])
    permits = limit.permits - in_use(limit)
  end
  if permits < left then return math.max(0, permits), 'rate' end
  return left, 'day'
end

local function wait_of(limit, why, short)
  if why == 'account' then return 100 end
  if why == 'line' then return 1000 end
  if why == 'pause' then return limit.paused - now end
  if why == 'day' then return until_some_count_no_more(limit) end
  return until_free(limit, short)
end

asked.most = 0
for _, kind in ipairs(asked.kinds) do asked.most = asked.most + kind.n end
for i, limit in ipairs(limits) do limit.free, limit.why = free_of(limit, i) end
local kinds = {}
for k, kind in ipairs(asked.kinds) do
  local granted, wait, whose, why = kind.n, 0, 0, ''
  for _, i in ipairs(kind.of) do granted = math.min(granted, limits[i].free) end
  for _, i in ipairs(kind.of) do
    local limit = limits[i]
    limit.free = limit.free - granted
    limit.taken = limit.taken + granted
    limit.wanted = true
  end
  if granted < kind.n then
    for _, i in ipairs(kind.of) do
      local its = limits[i].free < kind.n - granted and wait_of(limits[i], limits[i].why, kind.n - granted) or 0
      if its > wait then wait, whose, why = its, i, limits[i].why end
    end
  end
  kinds[k] = {granted, math.ceil(wait), whose, why}
end

local said = {}
for i, limit in ipairs(limits) do
  take(limit, inc, ARGV[4])
  said[i] = {tostring(limit.rate), limit.day, note_out(limit), limit.words, is_open(limit) and 1 or 0}
end
return {'ok', ask, kinds, said}
