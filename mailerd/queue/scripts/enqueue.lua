-- Registers a batch and pushes its job, once per batch.
-- KEYS 1 queue  2 batch  3 tombstone  4 clients of each batch id  5 index of batches  6 that of the client
-- ARGV 1 raw  2 jid  3 digest  4 recipients  5 template  6 variables  7 buckets  8 expires (ms or '')
--      9 token of the request ('': only say what would come of it)  10 client id  11 batch id
--      12 longest queue (0: any)
-- Returns {admission, recipients}: queued, replayed, conflict, foreign or full. The same token again is the
-- same request after a lost answer: queued. What is known is written once more, so that a WAIT that follows
-- covers it: the first request's may have come to nothing.
local tombstone = redis.call('GET', KEYS[3])
if tombstone then
  local digest, recipients = string.match(tombstone, '^(%S+) (%d+)$')
  if digest == ARGV[3] then return {'replayed', tonumber(recipients)} end
  return {'conflict', 0}
end
local known = redis.call('HMGET', KEYS[2], 'digest', 'request', 'recipients', 'created')
if known[4] then
  if not known[1] then return {'foreign', 0} end
  if known[1] ~= ARGV[3] then return {'conflict', 0} end
  if ARGV[9] ~= '' then redis.call('HSET', KEYS[2], 'request', known[2]) end
  if known[2] == ARGV[9] then return {'queued', tonumber(ARGV[4])} end
  return {'replayed', tonumber(ARGV[4])}
end
local longest = tonumber(ARGV[12])
if longest > 0 and redis.call('LLEN', KEYS[1]) >= longest then return {'full', 0} end
if ARGV[9] == '' then return {'queued', tonumber(ARGV[4])} end
local now = now_ms()
register(KEYS[2], now, ARGV[5], ARGV[6], ARGV[7], ARGV[3], ARGV[9], ARGV[4], ARGV[2], ARGV[8])
add_to_totals(KEYS[2], ARGV[4])
note_batch(KEYS[4], KEYS[5], KEYS[6], ARGV[10], ARGV[11], now)
redis.call('LPUSH', KEYS[1], ARGV[1])
return {'queued', tonumber(ARGV[4])}
