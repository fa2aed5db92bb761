-- Takes the oldest job as BLMOVE would, where BLMOVE is refused because Redis is full.
-- KEYS 1 queue  2 own list
-- Returns the job or nil.
local raw = redis.call('RPOP', KEYS[1])
if raw then redis.call('LPUSH', KEYS[2], raw) end
return raw
