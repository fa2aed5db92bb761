-- Settles unknown recipients at an operator's word, or opens failed ones again for the dead letter's job.
-- KEYS 1 batch  2 ended  3 retry  4 later  5… row hashes
-- ARGV 1 client/batch  2 from letter  3 to letter (s, f or q)  4 reason, or for q only rows with this reason ('': any)
--      5-6 small job of those that go back to q: id ('': they have a job) and payload
--      7 prefix of fields  8… pairs of row hash (from 1) and contact
-- Returns how many rows were changed; nobody of a cancelled batch is opened again.
local batch, from, to, now = KEYS[1], ARGV[2], ARGV[3], now_ms()
local since = seconds_since_creation(batch, now)
local delta, changed = {}, 0
if to == 'q' and halt_of(batch) == 'cancelled' then return 0 end
local only = from ~= 'u' and ARGV[4] ~= '' and (redis.call('HGET', batch, 'why:' .. ARGV[4]) or 'none')
for i = 8, #ARGV, 2 do
  local key, field = KEYS[4 + tonumber(ARGV[i])], ARGV[7] .. ARGV[i + 1]
  local old = redis.call('HGET', key, field)
  local row = old and parse_row(old)
  if row and row.letter == from and (not only or row.number == only) then
    local value = to .. since
    if to == 'f' then value = value .. ',' .. why_number(batch, ARGV[4]) end
    if from == 'f' then value = value .. ',0' end
    if from == 'u' and to == 'q' then
      value = row_of('q', since, '', {attempts = 0, first = '', doubt = in_doubt(row, row.number)})
    end
    redis.call('HSET', key, field, value)
    changed = changed + 1
  end
end
if changed > 0 then
  count(delta, from, -changed)
  count(delta, to, changed)
  if to == 'q' and ARGV[5] ~= '' then put_aside(KEYS[3], KEYS[4], ARGV[5], ARGV[6], now) end
  book(batch, KEYS[2], ARGV[1], delta, now)
end
return changed
