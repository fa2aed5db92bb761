-- Returns the jobs of an incarnation whose lease has lapsed to the head of the queue, and keeps it in the
-- graves: a BLMOVE of its may still be parked somewhere and deliver to its list later.
-- KEYS 1 lease  2 its list  3 queue  4 workers  5 graves  6 jobs  7 dead  8 letters  9 reasons of letters
-- ARGV 1 incarnation  2 count it as a death of the job (1), only if it had opened the job (2), or let the count
--      start over (0)  3 most deaths
--      4 reason if it is too many  5 how a ticket begins
-- Returns -1 (it lives) or how many jobs went back.
-- Up to the limit a worker buries such a job properly; past it no worker lived to read it, so it is buried here.
-- A BLMOVE of a host that vanished may bring a job to one dead hand after the other: those never saw it.
-- A ticket harms nobody and is worth a whole batch: its deaths are not counted.
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
local returned = 0
for _ = 1, 50 do
  local raw = redis.call('RPOP', KEYS[2])
  if not raw then break end
  local jid = redis.sha1hex(raw)
  local deaths = 0
  if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[6], jid .. ':deaths')
  elseif string.sub(raw, 1, #ARGV[5]) ~= ARGV[5]
    and (ARGV[2] == '1' or redis.call('HGET', KEYS[6], jid .. ':opened') == ARGV[1]) then
    deaths = redis.call('HINCRBY', KEYS[6], jid .. ':deaths', 1)
  end
  if deaths > tonumber(ARGV[3]) + 2 then
    redis.call('HSET', KEYS[8], jid, raw)
    redis.call('HSET', KEYS[9], jid, ARGV[4])
    redis.call('ZADD', KEYS[7], now_ms(), jid)
    forget_job(KEYS[6], jid)
  else
    redis.call('RPUSH', KEYS[3], raw)
    note_return(KEYS[6], jid)
    returned = returned + 1
  end
end
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[5], 'NX', now_ms(), ARGV[1])
return returned
