-- Stands, after prelude.lua, in front of the scripts that deal with limits. A limit's hash has the fields
--   rate, at, step         it was throttled: so many a second at that moment (ms), growing by step each second
--   seeded, granted, granted_day, foreign   what the account grants (0: any number), and how many of its last 24
--                          hours were not sent by this queue
--   paused, why            nobody before that moment (ms), and the provider's words
--   total, pruned          mails in :day, and the slot in which the old ones were last taken out
--   out                    since when (ms) it is known to be used up or paused
--   serial                 names for permits
local SLOT, SLOTS = 900000, 96
local KEPT = SLOT * (SLOTS + 2)
local SLOWEST, FORGET = 0.2, 600000

-- The smaller of two limits, of which 0 is none.
local function smaller(a, b)
  if a == 0 then return b end
  return b == 0 and a or math.min(a, b)
end

local function window_of(rate)
  return math.ceil(1000 * math.ceil(rate) / rate)
end

local function set_rate(limit, rate)
  limit.rate = rate
  if rate > 0 then limit.permits, limit.window = math.ceil(rate), window_of(rate) end
end

-- The limit as it stands, of which the configuration says (rate, day).
local function read_limit(key, rate, day, now)
  local f = redis.call('HMGET', key, 'rate', 'at', 'step', 'seeded', 'granted', 'granted_day', 'foreign', 'paused',
    'why', 'out')
  local limit = {key = key, now = now, seeded = f[4], paused = tonumber(f[8] or 0), words = f[9] or '',
    out = f[10], taken = 0, wanted = false, foreign = tonumber(f[7] or 0)}
  limit.base = smaller(rate, tonumber(f[5] or 0))
  limit.day = smaller(day, tonumber(f[6] or 0))
  set_rate(limit, limit.base)
  if f[1] then
    limit.throttled_at = tonumber(f[2])
    local grown = tonumber(f[1]) + tonumber(f[3]) * (now - limit.throttled_at) / 1000
    if (limit.base > 0 and grown >= limit.base) or (limit.base == 0 and now - limit.throttled_at > FORGET) then
      redis.call('HDEL', key, 'rate', 'at', 'step')
      limit.throttled_at = nil
    else
      set_rate(limit, grown)
    end
  end
  return limit
end

local function pause_limit(limit, ms, why)
  limit.paused, limit.words = math.max(limit.paused, limit.now + ms), why
  redis.call('HSET', limit.key, 'paused', limit.paused, 'why', why)
end

local function in_hand(limit)
  local held, sum = {}, 0
  local all = redis.call('HGETALL', limit.key .. ':hand')
  for i = 1, #all, 2 do
    held[all[i]] = tonumber(string.match(all[i + 1], ' (%d+)$'))
    sum = sum + held[all[i]]
  end
  return held, sum
end

-- Mails that count for the day: those in hand, of which nobody knows when they go, and those that came back. These
-- have gone by the slot in which they are counted, and it counts until all of it is more than 24 hours ago.
local function used_today(limit)
  local slot, day = math.floor(limit.now / SLOT), limit.key .. ':day'
  local noted = redis.call('HMGET', limit.key, 'total', 'pruned')
  local total = tonumber(noted[1] or 0)
  if tonumber(noted[2] or 0) ~= slot then
    local all = redis.call('HGETALL', day)
    for i = 1, #all, 2 do
      if tonumber(all[i]) < slot - SLOTS then
        total = total - tonumber(all[i + 1])
        redis.call('HDEL', day, all[i])
      end
    end
    redis.call('HSET', limit.key, 'total', total, 'pruned', slot)
  end
  local _, held = in_hand(limit)
  return total + held + limit.foreign
end

local function count_today(limit, n)
  if limit.day == 0 or n == 0 then return end
  used_today(limit)
  redis.call('HINCRBY', limit.key .. ':day', math.floor(limit.now / SLOT), n)
  redis.call('HINCRBY', limit.key, 'total', n)
  redis.call('PEXPIRE', limit.key .. ':day', KEPT)
end

local function until_some_count_no_more(limit)
  local oldest = math.floor(limit.now / SLOT)
  for _, slot in ipairs(redis.call('HKEYS', limit.key .. ':day')) do oldest = math.min(oldest, tonumber(slot)) end
  return (oldest + SLOTS + 1) * SLOT - limit.now
end

local function rest(limit, n, age)
  if limit.rate == 0 or n == 0 then return end
  local free = limit.now + 1 - math.floor(age) + limit.window
  local last = redis.call('HINCRBY', limit.key, 'serial', n)
  for serial = last - n + 1, last do redis.call('ZADD', limit.key .. ':rest', free, serial) end
  redis.call('PEXPIRE', limit.key .. ':rest', 2 * limit.window)
end

-- Halves the rate, once for all the refusals of one second. Where none is known all workers were as fast as this one.
local function slow_down(limit, estimate)
  if limit.throttled_at and limit.now - limit.throttled_at < 1000 then return end
  local before = limit.rate
  if before == 0 then before = estimate * math.max(1, redis.call('HLEN', of_queue(limit.key, 'workers'))) end
  local after = math.max(before / 2, math.min(before, SLOWEST))
  local step = math.max((limit.base > 0 and limit.base or before) / 20, 0.2)
  redis.call('HSET', limit.key, 'rate', tostring(after), 'at', limit.now, 'step', tostring(step))
  local open = limit.rate == 0
  limit.throttled_at = limit.now
  set_rate(limit, after)
  if open then rest(limit, limit.permits, 0) end
end

-- What an incarnation has in hand goes back: at rest, or unused. What a call took whose answer was lost is unused.
local function give_back(limit, inc, call, ages, refund)
  local of, n = string.match(redis.call('HGET', limit.key .. ':hand', inc) or '0 0', '^(%d+) (%d+)$')
  if n == '0' then return end
  redis.call('HDEL', limit.key .. ':hand', inc)
  if of == call then return end
  for _, age in ipairs(ages) do rest(limit, 1, age) end
  count_today(limit, #ages - refund)
end

local function free_the_dead(limit, lease_prefix)
  for inc, n in pairs(in_hand(limit)) do
    if redis.call('EXISTS', lease_prefix .. inc) == 0 then
      redis.call('HDEL', limit.key .. ':hand', inc)
      rest(limit, n, 0)
      count_today(limit, n)
    end
  end
end

local function in_use(limit)
  redis.call('ZREMRANGEBYSCORE', limit.key .. ':rest', '-inf', limit.now)
  local _, held = in_hand(limit)
  return redis.call('ZCARD', limit.key .. ':rest') + held
end

-- How long (ms) until so many permits more are free, or as many as come back in 20 ms: those in hand come back at
-- their time.
local function until_free(limit, n)
  n = math.min(n, math.max(1, math.floor(limit.permits / 50)))
  local resting = redis.call('ZRANGE', limit.key .. ':rest', 0, n - 1, 'WITHSCORES')
  if #resting == 0 then return limit.window end
  return math.max(1, tonumber(resting[#resting]) - limit.now)
end

local function take(limit, inc, call)
  if limit.taken == 0 then return end
  redis.call('HSET', limit.key .. ':hand', inc, call .. ' ' .. limit.taken)
  redis.call('PEXPIRE', limit.key .. ':hand', KEPT)
  redis.call('PEXPIRE', limit.key, KEPT)
end

-- Notes whether it lets nobody through for long; returns 1 where that is new, -1 where it is over, else 0. A day of
-- which a little comes back every quarter of an hour, and is used at once, is one such time.
local function note_out(limit)
  local used = limit.day > 0 and used_today(limit) / limit.day or 0
  local paused = limit.paused > limit.now
  if (paused or used >= 1) and not limit.out then return redis.call('HSETNX', limit.key, 'out', limit.now) end
  if limit.out and not paused and used < 0.95 then
    redis.call('HDEL', limit.key, 'out', 'paused', 'why')
    return -1
  end
  return 0
end

local function is_open(limit)
  return limit.rate == 0 and limit.day == 0 and limit.paused <= limit.now
end
