-- Claims recipients for a hand-over.
-- KEYS 1 lease  2 batch  3 ended  4… row hashes
-- ARGV 1 lease (ms)  2 client/batch  3 incarnation  4 prefix of lease keys  5 a retry's own job (1|0)
--      6 unknown ones are sent again (1|0)  7 prefix of fields  8… pairs of row hash (from 1) and contact
-- Returns {'lost'} | {'expired'} | {'paused'} | {'cancelled'} | {'ok', answer, …}, one answer a recipient:
--      'claimed <attempts> <seconds since the first deferral>' | 'settled' | 'deferred' (another job's)
--      | 'busy' (another living incarnation's) | 'unknown' | 'missing'
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local batch, inc, now = KEYS[2], ARGV[3], now_ms()
local says = redis.call('HMGET', batch, 'expires', 'halt')
if says[2] then return {says[2]} end
if says[1] and tonumber(says[1]) <= now then return {'expired'} end
local since = seconds_since_creation(batch, now)
local delta, answers, resend = {}, {'ok'}, ARGV[6] == '1'

local function lives(other)
  return redis.call('EXISTS', ARGV[4] .. other) == 1
end

local function answer(key, field, row)
  local letter = row.letter
  if letter == 'c' and row.number == inc then return 'claimed', row end
  if letter == 'c' and lives(row.number) then return 'busy' end
  if letter == 'c' and not resend then
    redis.call('HSET', key, field, row_of('u', since, row.number, row))
    count(delta, 'c', -1)
    count(delta, 'u', 1)
    return 'unknown'
  end
  if letter == 'u' and not resend then return 'unknown' end
  if letter == 'd' and ARGV[5] ~= '1' then return 'deferred' end
  if letter == 'q' or letter == 'd' or letter == 'c' or letter == 'u' then
    if letter == 'c' or letter == 'u' then row.doubt = in_doubt(row, row.number) end
    redis.call('HSET', key, field, row_of('c', since, inc, row))
    count(delta, letter, -1)
    count(delta, 'c', 1)
    return 'claimed', row
  end
  return 'settled'
end

for i = 8, #ARGV, 2 do
  local key, field = KEYS[3 + tonumber(ARGV[i])], ARGV[7] .. ARGV[i + 1]
  local value = redis.call('HGET', key, field)
  if not value then
    answers[#answers + 1] = 'missing'
  else
    local what, row = answer(key, field, parse_row(value))
    if row then
      local age = row.first ~= '' and (since - tonumber(row.first)) or 0
      what = what .. ' ' .. row.attempts .. ' ' .. age
    end
    answers[#answers + 1] = what
  end
end
book(batch, KEYS[3], ARGV[2], delta, now)
return answers
