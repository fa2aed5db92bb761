-- Notes that something is out of order, for all workers of all hosts, and says whose part it is to tell people.
-- KEYS 1 alert
-- ARGV 1 what is wrong  2 how long it stands without being renewed, and quiet lasts after its end (ms)
--      3 1: it lasts, which is told in spite of the quiet; else 0
-- Returns 'told': somebody has told it; 'quiet': it has just been over, and may be so again; 'new': tell it.
local known = redis.call('GET', KEYS[1])
local told = known and string.sub(known, 1, 1) == '!'
if known and not told and ARGV[3] == '0' then return 'quiet' end
redis.call('SET', KEYS[1], '!' .. ARGV[1], 'PX', ARGV[2])
return told and 'told' or 'new'
