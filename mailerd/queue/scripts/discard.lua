-- Discards jobs of which nothing is handed over, acks them and those that are done, and takes what is to be done next.
-- The jobs of one batch are opened, admitted, booked and acked at once where all about them is plain: nothing is known
-- of any of them or of their recipients, and they agree with their batch, which is new, or neither halted nor waiting,
-- and keeps its rows in its own hash. Else nothing is done to them: they stay in the own list, for the long way.
-- KEYS 1 lease  2 own list  3 queue  4 workers  5 jobs  6 ended  7 clients of each batch id  8 index of batches
--      9… for each batch: batch, tombstone, index of the client's batches
-- ARGV 1 lease (ms)  2 take at most so many (0: none)  3 longest short job (bytes)  4 how ours begin, which are never
--      taken with others  5 why recipients are discarded  6 how many jobs are done, and as many pairs of raw and jid
--      then for each batch: client id, batch id, template, variables, expires (ms or ''), how many jobs, how many
--      recipients, triples of raw, jid and how many recipients it brings, and the fields of all recipients, each once
-- Returns {'lost'} | {'ok', 'found' or 'taken', for each batch 'aside', 'done', or the ms since it was enqueued with
--      one of these jobs, the jobs in the own list, the oldest first}. What is not in the own list any more is done:
--      by a first try whose answer was lost. A repeat takes nothing more.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return {'lost'} end
local jobs, reason, at = KEYS[5], ARGV[5], 7
for _ = 1, tonumber(ARGV[6]) do
  if redis.call('LREM', KEYS[2], -1, ARGV[at]) == 1 then forget_job(jobs, ARGV[at + 1]) end
  at = at + 2
end

local now, answer = now_ms(), {'ok', 'found'}
local hand, in_hand, acked = redis.call('LRANGE', KEYS[2], 0, -1), {}, {}
for _, raw in ipairs(hand) do in_hand[raw] = true end
local nothing_is_noted = redis.call('EXISTS', jobs) == 0
local FACTS = {'created', 'template', 'variables', 'buckets', 'promise', 'promised', 'queued', 'sending', 'deferred',
  'recipients', 'discarded', 'halt', 'unknown', 'waiting_for', 'why:' .. reason}

-- The next batch of ARGV; what follows it begins at ``at``.
local function read_group(k)
  local group = {batch = KEYS[k], tombstone = KEYS[k + 1], index = KEYS[k + 2], client = ARGV[at], id = ARGV[at + 1],
    template = ARGV[at + 2], variables = ARGV[at + 3], expires = ARGV[at + 4], brings = tonumber(ARGV[at + 6]),
    first = at + 7, rows = at + 7 + 3 * ARGV[at + 5]}
  group.tag = group.client .. '/' .. group.id
  at = group.rows + group.brings
  return group
end

local function count_in_hand(group)
  local found = 0
  for i = group.first, group.rows - 1, 3 do
    if in_hand[ARGV[i]] then found = found + 1 end
  end
  return found
end

local function is_any_noted(group)
  for i = group.first + 1, nothing_is_noted and 0 or group.rows - 1, 3 do
    local jid = ARGV[i]
    local notes = redis.call('HMGET', jobs, jid .. ':cursor', jid .. ':deaths', jid .. ':returned', jid .. ':opened')
    if notes[1] or notes[2] or notes[3] or notes[4] then return true end
  end
  return false
end

local function is_any_admitted(group, found)
  for i = #FACTS + 1, #FACTS + group.brings do
    if found[i] then return true end
  end
  return redis.call('EXISTS', of_queue(group.batch, 'told:' .. group.tag)) == 1
end

local function is_plain(group, known)
  if not known.created then return redis.call('EXISTS', group.tombstone) == 0 end
  local agrees = known.template == group.template and known.variables == group.variables
  return agrees and known.buckets == '0' and not (known.halt or known.unknown or known.waiting_for)
end

-- What the batch's record says, by name; nothing where anything about it or its recipients is not plain.
local function facts_if_plain(group)
  local fields, known = {unpack(FACTS)}, {}
  for i = group.rows, group.rows + group.brings - 1 do fields[#fields + 1] = ARGV[i] end
  local found = redis.call('HMGET', group.batch, unpack(fields))
  for i, name in ipairs(FACTS) do known[name] = found[i] end
  return is_plain(group, known) and not is_any_admitted(group, found) and known or nil
end

-- How many of these recipients were promised when the batch was enqueued with one of these jobs, and are counted.
local function promised_of(group, known)
  for i = group.first, known.promise and group.rows - 1 or 0, 3 do
    if ARGV[i + 1] == known.promise then return math.min(tonumber(ARGV[i + 2]), tonumber(known.promised)) end
  end
  return nil
end

local function write(group, known, promised)
  local queued = (known.queued or 0) - promised
  local record = {'recipients', (known.recipients or 0) + group.brings - promised, 'discarded',
    (known.discarded or 0) + group.brings}
  local function put(name, value)
    record[#record + 1] = name
    record[#record + 1] = value
  end
  local since = math.max(0, math.floor((now - (known.created or now)) / 1000))
  local row = 'z' .. since .. ',' .. (known['why:' .. reason] or why_number(group.batch, reason))
  for i = group.rows, group.rows + group.brings - 1 do put(ARGV[i], row) end
  if promised > 0 then
    put('queued', queued)
    put('promised', known.promised - promised)
  end
  if not known.created then
    put('created', now)
    put('template', group.template)
    put('variables', group.variables)
    put('buckets', 0)
    if group.expires ~= '' then put('expires', group.expires) end
    note_batch(KEYS[7], KEYS[8], group.index, group.client, group.id, now)
  end
  if queued + (known.sending or 0) + (known.deferred or 0) == 0 then
    put('finished', now)
    redis.call('ZADD', KEYS[6], now, group.tag)
  end
  redis.call('HSET', group.batch, unpack(record))
end

local total = {recipients = 0, queued = 0, discarded = 0}
local function discard(group)
  local found = count_in_hand(group)
  if found == 0 then return 'done' end
  local all = 3 * found == group.rows - group.first
  local known = all and not is_any_noted(group) and facts_if_plain(group)
  if not known then return 'aside' end
  local of_promise = promised_of(group, known)
  local promised = of_promise or 0
  write(group, known, promised)
  total.recipients = total.recipients + group.brings - promised
  total.queued = total.queued - promised
  total.discarded = total.discarded + group.brings
  for i = group.first, group.rows - 1, 3 do acked[#acked + 1] = ARGV[i] end
  return of_promise and tostring(now - known.created) or 'done'
end

local k = 9
while at <= #ARGV do
  answer[#answer + 1] = discard(read_group(k))
  k = k + 3
end
for counter, n in pairs(total) do
  if n ~= 0 then add_to_total(KEYS[9], counter, n) end
end

if #acked == #hand then
  redis.call('DEL', KEYS[2])
  answer[2] = 'taken'
  take_short(answer, KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4])
  return answer
end
for _, raw in ipairs(acked) do redis.call('LREM', KEYS[2], -1, raw) end
for _, raw in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do table.insert(answer, 3 + (k - 9) / 3, raw) end
return answer
