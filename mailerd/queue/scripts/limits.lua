-- Reads how limits stand.
-- KEYS the limits' hashes
-- ARGV pairs of rate and mails in a day, one for each limit
-- Returns for each {rate, permits in hand and at rest, mails in a day, mails that count for it, pieces in line,
--      paused for (ms)}; 0 for what limits nothing.
local now, said = now_ms(), {}
for i, key in ipairs(KEYS) do
  local limit = read_limit(key, tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i]), now)
  said[i] = {tostring(limit.rate), in_use(limit), limit.day, used_today(limit), redis.call('LLEN', key .. ':line'),
    math.max(0, limit.paused - now)}
end
return said
