-- Deletes an ended batch's record. Its tombstone answers replays and keeps late foreign jobs from mailing
-- everybody again; its rows, unreachable from here on, are left to the janitor as debris.
-- KEYS 1 batch  2 tombstone  3 clients of each batch id  4 index of batches  5 ended  6 templates
--      7 users of each template  8 side list  9 debris  10 the client's index of batches
-- ARGV 1 client id  2 batch id  3 how long the tombstone stands (ms)  4 ended before (ms)
-- Returns 1, or 0: it was opened again in the meantime. The ZREM comes first so that the script, which makes
--      room, passes when Redis is full.
local tag = ARGV[1] .. '/' .. ARGV[2]
local batch = redis.call('HMGET', KEYS[1], 'finished', 'digest', 'recipients', 'pinned', 'buckets')
if not batch[1] or tonumber(batch[1]) > tonumber(ARGV[4]) then return 0 end
redis.call('ZREM', KEYS[5], tag)
redis.call('SET', KEYS[2], (batch[2] or '-') .. ' ' .. (batch[3] or '0'), 'PX', ARGV[3])
redis.call('RPUSH', KEYS[9], tag .. ' ' .. batch[5])
if batch[4] and redis.call('HINCRBY', KEYS[7], batch[4], -1) <= 0 then
  redis.call('HDEL', KEYS[6], batch[4])
  redis.call('HDEL', KEYS[7], batch[4])
end
local rest = {}
for client in string.gmatch(redis.call('HGET', KEYS[3], ARGV[2]) or '', '%S+') do
  if client ~= ARGV[1] then rest[#rest + 1] = client end
end
if #rest > 0 then
  redis.call('HSET', KEYS[3], ARGV[2], table.concat(rest, ' '))
else
  redis.call('HDEL', KEYS[3], ARGV[2])
end
redis.call('ZREM', KEYS[4], tag)
redis.call('ZREM', KEYS[10], tag)
redis.call('SREM', of_queue(KEYS[1], 'attention'), tag)
add_to_total(KEYS[1], 'recipients', 0 - (batch[3] or 0))
for _, state in pairs(STATE) do
  add_to_total(KEYS[1], state, 0 - (redis.call('HGET', KEYS[1], state) or 0))
end
redis.call('DEL', KEYS[1], KEYS[8])
return 1
