-- Calls up whoever stands in line for a limit and can soon go: to the head of the queue, at the limit's rate.
-- KEYS 1 queue  2 the limits with a line  3… the limits' hashes; beside each ':line'
-- ARGV 1 prefix of lease keys  2… triples of name, rate and mails in a day, one for each limit; 0 and 0 for one that limits nothing any more
-- Returns how many pieces.
local SOON, MOST = 300, 100
local now, called = now_ms(), 0

local function free_soon(limit)
  local free = MOST
  if limit.paused > now + SOON then return 0 end
  free_the_dead(limit, ARGV[1])  -- whoever stands in line asks for no permit, and may be the last who would
  if limit.day > 0 then free = math.min(free, limit.day - used_today(limit)) end
  if limit.rate == 0 then return free end
  local _, held = in_hand(limit)
  local resting = redis.call('ZCOUNT', limit.key .. ':rest', '(' .. (now + SOON), '+inf')
  free = math.min(free, limit.permits - held - resting)
  local since = tonumber(redis.call('HGET', limit.key, 'called') or 0)
  return math.min(free, limit.rate * (now - since) / 1000)
end

for i = 3, #KEYS do
  local line, told = KEYS[i] .. ':line', 3 * (i - 3) + 1
  local limit = read_limit(KEYS[i], tonumber(ARGV[told + 2]), tonumber(ARGV[told + 3]), now)
  local free, sum = free_soon(limit), 0
  while free - sum >= 1 do
    local piece = redis.call('LPOP', line)
    if not piece then break end
    redis.call('RPUSH', KEYS[1], piece)
    sum, called = sum + select(2, string.gsub(piece, '\n', '')), called + 1
  end
  if sum > 0 and limit.rate > 0 then
    local since = math.max(now - 1000 * math.max(1, 1 / limit.rate), tonumber(redis.call('HGET', KEYS[i], 'called') or 0))
    redis.call('HSET', KEYS[i], 'called', math.floor(since + 1000 * sum / limit.rate))
  end
  if redis.call('EXISTS', line) == 0 then redis.call('SREM', KEYS[2], ARGV[told + 1]) end
end
return called
