-- Returns the jobs of an incarnation whose lease has lapsed to the head of the queue, and keeps it in the
-- graves: a BLMOVE of its may still be parked somewhere and deliver to its list later.
-- KEYS 1 lease  2 its list  3 queue  4 workers  5 graves  6 jobs
-- ARGV 1 incarnation  2 count it as a death of the job (1), only if it had opened the job (2), or let the count
--      start over (0)  3 most deaths  4 how a ticket begins
-- Returns {how many jobs went back or -1 (it lives), 1 (the next one has killed too many: it stays in the
--      list, to be buried, and then this is to be repeated) or 0}. The RPOP, which makes room, comes before any
--      other write, so that the script passes when Redis is full.
-- Up to the limit a worker buries such a job; past it no worker lived to do so.
-- A BLMOVE of a host that vanished may bring a job to one dead hand after the other: those never saw it.
-- Of several jobs in one hand only those that it had opened can be to blame.
-- A ticket harms nobody and is worth a whole batch: its deaths are not counted.
if redis.call('EXISTS', KEYS[1]) == 1 then return {-1, 0} end
local returned, alone = 0, redis.call('LLEN', KEYS[2]) == 1
for _ = 1, 50 do
  local raw = redis.call('RPOP', KEYS[2])
  if not raw then break end
  local jid = redis.sha1hex(raw)
  local deaths = 0
  local opened = redis.call('HGET', KEYS[6], jid .. ':opened') == ARGV[1]
  if ARGV[2] == '0' then
    if alone or opened then redis.call('HDEL', KEYS[6], jid .. ':deaths') end
  elseif string.sub(raw, 1, #ARGV[4]) ~= ARGV[4] and (opened or (alone and ARGV[2] == '1')) then
    deaths = redis.call('HINCRBY', KEYS[6], jid .. ':deaths', 1)
  end
  if deaths > tonumber(ARGV[3]) + 2 then
    redis.call('RPUSH', KEYS[2], raw)
    return {returned, 1}
  end
  redis.call('RPUSH', KEYS[3], raw)
  note_return(KEYS[6], jid)
  returned = returned + 1
end
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[5], 'NX', now_ms(), ARGV[1])
return {returned, 0}
