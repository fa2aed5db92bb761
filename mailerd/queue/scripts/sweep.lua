-- Sweeps one hash of rows for an operator: cancels whoever is still open, or opens again whoever got nothing.
-- KEYS 1 batch  2 ended  3 queue  4 side list  5 row hash
-- ARGV 1 client/batch  2 cancel or retry  3 prefix of fields  4 recipients in a slice  5 first line of a slice
--      6 ticket
-- Returns how many rows were changed. One in somebody's hand is left to whoever has it.
local batch, cancel, prefix, now = KEYS[1], ARGV[2] == 'cancel', ARGV[3], now_ms()
if cancel ~= (halt_of(batch) == 'cancelled') then return 0 end
local since = seconds_since_creation(batch, now)
local from = cancel and {q = true, d = true} or {f = true, i = true, e = true}
local why = cancel and why_number(batch, CANCELLED)
local delta, opened = {}, {}
local rows = redis.call('HGETALL', KEYS[5])
for i = 1, #rows, 2 do
  local letter = string.sub(rows[i + 1], 1, 1)
  if string.sub(rows[i], 1, #prefix) == prefix and from[letter] then
    local new = cancel and ended_row('k', since, why, parse_row(rows[i + 1])) or 'q' .. since
    redis.call('HSET', KEYS[5], rows[i], new)
    count(delta, letter, -1)
    count(delta, string.sub(new, 1, 1), 1)
    opened[#opened + 1] = string.sub(rows[i], #prefix + 1)
  end
end
if #opened == 0 then return 0 end
if not cancel then
  local size = tonumber(ARGV[4])
  for first = 1, #opened, size do
    local last = math.min(first + size - 1, #opened)
    redis.call('RPUSH', KEYS[4], ARGV[5] .. '\n' .. table.concat(opened, '\n', first, last))
  end
  if redis.call('HSETNX', batch, 'ticket', 1) == 1 then redis.call('LPUSH', KEYS[3], ARGV[6]) end
end
book(batch, KEYS[2], ARGV[1], delta, now)
return #opened
