-- One operation of one process on the count of a fleet. The argument is in doc.go and in docs/architecture.md.
--
-- KEYS  state (hash), processes (hash), deadlines (zset), queue (zset), offers (zset), fencing (hash)
-- ARGV  see request.args in script.go
--
-- The record of a process, in the hash of processes, has these fields, separated by spaces:
--   count    rights that it has, with those that are offered to it
--   seq      number of its last operation: older ones are ignored
--   want     for how many it stands in the queue
--   ask      how many others would have from it
--   idle     how many it could close at once, as it said last; -1: it did not say
--   since    since when the first of them is idle
--   offered  of count: handed to it, and not yet confirmed
--   max      its limit
--   lease    its lease, in ms
--   fence    1: what it has when its lease ends must be fenced before others get it
--   tried    when it was last asked for something
--   label    what Inspect shows; may contain spaces
local S, P, D, Q, O, X = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local me, leaves, fenced = ARGV[1], ARGV[14] == '1', ARGV[15]
local seq, held, want, ahead, hope = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local idle, idleFor = tonumber(ARGV[7]), tonumber(ARGV[8])
local lease, limit = tonumber(ARGV[9]), tonumber(ARGV[10])
local founding, mustFence, label = ARGV[11] == '1', ARGV[12], ARGV[13]
local channel, patience, release, overdue = ARGV[16], tonumber(ARGV[17]), ARGV[18], ARGV[19] == '1'

local format = redis.call('HGET', S, 'format')
if format and format ~= '1' then
  return {err = 'FLEETFORMAT ' .. format .. ' ' .. (redis.call('HGET', S, 'by') or '?')}
end
-- First a write that frees memory, if only that of nothing: then the others are not refused when memory is full.
redis.call('ZREM', D, '')

local function text(n) return string.format('%.0f', n) end

-- The clock: the server's, but it never goes back, and a jump costs at most a third of a lease.
local t = redis.call('TIME')
local wall = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', S, 'now', 'wall', 'used', 'ticket', 'open', 'run', 'max', 'least', 'most', 'wants', 'asked', 'turn', 'hopes', 'rev')
local least, most = tonumber(s[8] or lease), tonumber(s[9] or lease)
local now = tonumber(s[1] or 1) + math.max(0, math.min(wall - tonumber(s[2] or wall), math.floor(least / 3)))
local used, ticket, wants, asked = tonumber(s[3] or 0), tonumber(s[4] or 0), tonumber(s[10] or 0), tonumber(s[11] or 0)
local max, turn, hopes, rev = tonumber(s[7] or limit), tonumber(s[12] or 0), s[13] == '1', tonumber(s[14] or 0)

-- Grace: where the data may be older than what was granted, nothing is granted until all leases of before are over.
local open = tonumber(s[5] or (founding and now or now + lease))
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or '?'
if s[6] and s[6] ~= run then open = now + most end

-- The records.
local records, changed, all = {}, {}, false
local function record(id, line)
  local r = records[id]
  if r ~= nil then return r end
  line = line or redis.call('HGET', P, id)
  if not line then return nil end
  r = {id = id}
  r.count, r.seq, r.want, r.ask, r.idle, r.since, r.offered, r.max, r.lease, r.fence, r.tried, r.label =
    string.match(line, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) ?(.*)$')
  for _, f in ipairs({'count', 'seq', 'want', 'ask', 'idle', 'since', 'offered', 'max', 'lease', 'tried'}) do r[f] = tonumber(r[f]) end
  records[id] = r
  return r
end
local function change(r) changed[r.id] = r end
local function everybody()
  if not all then
    local list = redis.call('HGETALL', P)
    for i = 1, #list, 2 do record(list[i], list[i + 1]) end
    all = true
  end
  return records
end

-- What processes are told when all is done.
local notes, query, free, spare = {}, false, false, false
local function asks(r, n) -- changes what others would have from r
  asked = asked + n - r.ask
  r.ask = n
  change(r)
  if r.id ~= me then notes[r.id] = true end
end
local function unwant(r) -- takes r out of the queue
  if r.want > 0 then
    wants = wants - r.want
    r.want = 0
    redis.call('ZREM', Q, r.id)
    change(r)
  end
end
local recount = false
local function forget(r)
  unwant(r)
  asks(r, 0)
  notes[r.id], changed[r.id], records[r.id] = nil, nil, nil
  redis.call('HDEL', P, r.id)
  redis.call('ZREM', D, r.id)
  redis.call('ZREM', O, r.id)
  recount = true
end

-- Leases that are over.
for _, id in ipairs(redis.call('ZRANGE', D, '-inf', text(now), 'BYSCORE')) do
  local r = record(id)
  if r then
    local lost = r.count - r.offered
    used = used - r.offered
    if r.fence == '1' and lost > 0 then
      redis.call('HSET', X, id, text(lost) .. ' 0 ' .. r.label) -- they stay counted
    else
      used = used - lost
    end
    forget(r)
  else
    redis.call('ZREM', D, id)
  end
end

-- Rights that were offered and not confirmed pass on. Who has not reacted leaves the queue, until it speaks.
for _, id in ipairs(redis.call('ZRANGE', O, '-inf', text(now), 'BYSCORE')) do
  local r = record(id)
  if r and id ~= me then
    used, r.count, r.offered = used - r.offered, r.count - r.offered, 0
    unwant(r)
    change(r)
  end
  if id ~= me then redis.call('ZREM', O, id) end
end

if fenced ~= '' then
  local n = string.match(redis.call('HGET', X, fenced) or '', '^(%d+)')
  if n then
    used = used - tonumber(n)
    redis.call('HDEL', X, fenced)
  end
end

-- The caller.
local status, mine, lost = 0, 0, 0
local r = record(me)
if r and seq <= r.seq then
  status = 1 -- carried out late: a newer one has been seen
elseif redis.call('HEXISTS', X, me) == 1 then
  status = 2 -- its lease is over, and what it had is being fenced: it must take another name
else
  if not r then
    r = {id = me, count = 0, seq = 0, want = 0, ask = 0, idle = -1, since = 0, offered = 0, max = limit, lease = lease, fence = mustFence, tried = 0, label = label}
    if not leaves or held > 0 then
      if redis.call('HLEN', P) == 0 then
        max, least, most = limit, lease, lease
      else
        max, least, most = math.min(max, limit), math.min(least, lease), math.max(most, lease)
      end
      records[me] = r
    end
  end
  r.seq = seq
  if leaves then r.fence = '0' end
  if overdue and now < open then
    -- Its lease was over before the grace, or may have been. Then others have what it had, and may not have said so yet.
    used, lost = used - r.count, held
    r.count, held = 0, 0
  end
  local extra = r.count - held
  local given = 0
  if extra < 0 then -- it has what we do not know of: it gets it back if it is free
    local back = math.min(-extra, math.max(0, max - used))
    used, r.count = used + back, r.count + back
    lost = held - r.count
  else -- we count what it does not have: offered, or its answer has been lost, or given back
    -- Only what was offered is kept: others may have come before the caller for the rest.
    local keep = math.min(extra, want, r.offered)
    used, r.count = used - (extra - keep), held + keep
    want = want - keep
    given = extra - keep
  end
  if r.offered > 0 then redis.call('ZREM', O, me) end
  r.offered = 0
  if r.ask > 0 then asks(r, math.max(0, math.min(r.ask - given, r.count))) end
  if idle >= 0 then r.idle, r.since = idle, now - idleFor else r.idle = math.min(r.idle, r.count) end
  if want > 0 then
    if r.want == 0 then
      ticket = ticket + 1
      redis.call('ZADD', Q, text(ticket), me)
    end
    wants, r.want = wants + want - r.want, want
  else
    unwant(r)
  end
  change(r)
  if leaves and r.count == 0 then
    forget(r)
  else
    redis.call('ZADD', D, text(now + lease), me)
  end
end

-- What is to be fenced is free if no process is left that can do it: Fence was taken out of the program.
if redis.call('HLEN', X) > 0 then
  local able = false
  for _, o in pairs(everybody()) do able = able or o.fence == '1' end
  if not able then
    for _, v in ipairs(redis.call('HVALS', X)) do used = used - tonumber(string.match(v, '^(%d+)')) end
    redis.call('DEL', X)
  end
end

if recount then -- the limits of those that are left
  local left = false
  for _, o in pairs(everybody()) do
    if left then
      max, least, most = math.min(max, o.max), math.min(least, o.lease), math.max(most, o.lease)
    else
      max, least, most, left = o.max, o.lease, o.lease, true
    end
  end
end

if now >= open then
  -- Rights go to those who wait: one to each, in the order in which they asked; who wants more goes to the end.
  while used < max do
    local id = redis.call('ZRANGE', Q, 0, 0)[1]
    if not id then break end
    local o = record(id)
    if not o or o.want <= 0 then
      redis.call('ZREM', Q, id)
    else
      local n = 1
      if redis.call('ZCARD', Q) == 1 then n = math.min(o.want, max - used) end
      used, o.count, wants, o.want = used + n, o.count + n, wants - n, o.want - n
      if id ~= me then
        if o.offered == 0 then redis.call('ZADD', O, text(now + patience), id) end
        o.offered = o.offered + n
        notes[id] = true
      end
      change(o)
      if o.want > 0 then
        ticket = ticket + 1
        redis.call('ZADD', Q, text(ticket), id)
      else
        redis.call('ZREM', Q, id)
      end
    end
  end
  -- What nobody waits for: for Warm and MinIdle, and a few ahead while the end is far.
  if records[me] and status == 0 and lost == 0 and wants == 0 and not leaves then
    local n = math.max(0, math.min(hope, max - used))
    if n < hope then hopes, spare = true, true end -- who has something in store gives it back
    if ahead > 0 then n = math.max(n, math.min(ahead, math.floor((max - used) / 4))) end
    if n > 0 then used, r.count = used + n, r.count + n end
  end
end
if hopes and wants == 0 and used < max and now >= open then free, hopes = true, false end

-- Who is asked to give something up: as much in all as is lacking.
local lacking = wants + math.max(0, used - max)
if now < open then lacking = 0 end
local function able(o) return math.min(o.count - o.offered, lacking - o.want) - o.ask end
local function candidate(not_) -- who is to be asked next
  local best
  for id, o in pairs(everybody()) do
    if id ~= not_ and able(o) > 0 then
      local has = o.idle > o.ask
      if not best then
        best = o
      elseif has ~= (best.idle > best.ask) then
        if has then best = o end
      elseif has then
        if o.since < best.since or o.since == best.since and id < best.id then best = o end
      elseif o.tried ~= best.tried then
        if o.tried < best.tried then best = o end
      elseif o.count ~= best.count then
        if o.count > best.count then best = o end
      elseif id < best.id then
        best = o
      end
    end
  end
  return best
end
local function blind(not_) -- one who is asked without having anything idle
  local found
  for id, o in pairs(everybody()) do
    if id ~= not_ and o.ask > math.max(0, o.idle) and (not found or o.tried < found.tried or o.tried == found.tried and id < found.id) then found = o end
  end
  return found
end
if asked > 0 then -- nobody is asked for what it has not, or waits for itself
  for _, o in pairs(everybody()) do
    if o.ask > 0 and able(o) < 0 then asks(o, math.max(0, o.ask + able(o))) end
  end
end
if asked > lacking then
  for _ = 1, asked - lacking do
    local o = blind()
    if not o then
      for _, p in pairs(everybody()) do
        if p.ask > 0 and (not o or p.since > o.since) then o = p end
      end
    end
    if not o then break end
    asks(o, o.ask - 1)
  end
elseif asked < lacking then
  for _ = 1, lacking - asked do
    local o = candidate()
    if not o then break end
    asks(o, o.ask + 1)
    o.tried = now
    if o.ask > o.idle then query = true end
  end
end
if asked > 0 and r and records[me] then
  -- The caller has something idle: it is asked instead of one that has not.
  while r.idle > r.ask and able(r) > 0 do
    local o = blind(me)
    if not o then break end
    asks(o, o.ask - 1)
    asks(r, r.ask + 1)
    r.tried = now
  end
  -- Who was asked a while ago and has not given way: another one is asked.
  if r.want > 0 and now - turn >= 250 then
    turn = now
    local o = blind()
    if o then
      asks(o, o.ask - 1)
      local other = candidate(o.id) or o
      asks(other, other.ask + 1)
      other.tried = now
      query = true
    end
  end
end
if query then -- is there anybody to be asked, beside those who are asked already?
  query = false
  for id, o in pairs(everybody()) do query = query or id ~= me and o.ask == 0 and o.count > o.offered end
end

-- One of those that must be fenced, for a caller who can.
local toFence, fenceLabel = '', ''
if mustFence == '1' and status == 0 and not leaves then
  local list = redis.call('HGETALL', X)
  for i = 1, #list, 2 do
    local n, by, name = string.match(list[i + 1], '^(%d+) (%d+) ?(.*)$')
    if tonumber(by) <= now then
      redis.call('HSET', X, list[i], n .. ' ' .. text(now + lease) .. ' ' .. name)
      toFence, fenceLabel = list[i], name
      break
    end
  end
end

rev = rev + 1
for id, o in pairs(changed) do
  redis.call('HSET', P, id, table.concat({text(o.count), text(o.seq), text(o.want), text(o.ask), text(o.idle), text(o.since),
    text(o.offered), text(o.max), text(o.lease), o.fence, text(o.tried), o.label}, ' '))
end
redis.call('HSET', S, 'format', '1', 'by', release, 'run', run, 'now', text(now), 'wall', text(wall), 'used', text(used), 'ticket', text(ticket),
  'open', text(open), 'max', text(max), 'least', text(least), 'most', text(most), 'wants', text(wants), 'asked', text(asked), 'turn', text(turn),
  'hopes', hopes and '1' or '0', 'rev', text(rev))

for id in pairs(notes) do
  local o = records[id]
  if o then redis.call('PUBLISH', channel .. id, text(o.offered) .. ' ' .. text(o.ask) .. ' ' .. text(rev)) end
end
if query or free or spare then redis.call('PUBLISH', channel .. 'all', (query and '1' or spare and '2' or '0') .. ' ' .. (free and '1' or '0')) end

local ask, wanting = 0, 0
if records[me] then mine, ask, wanting = r.count, r.ask, r.want end
return {status, mine, lost, used, max, wants - wanting, math.max(0, open - now), ask, rev, toFence, fenceLabel}
