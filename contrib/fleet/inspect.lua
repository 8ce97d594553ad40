-- What there is, without changing anything: max, used, grace, and a list for each process.
local S, P, D, Q, O, X = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local format = redis.call('HGET', S, 'format')
if format and format ~= '1' then
  return {err = 'FLEETFORMAT ' .. format .. ' ' .. (redis.call('HGET', S, 'by') or '?')}
end
local s = redis.call('HMGET', S, 'now', 'wall', 'used', 'open', 'max', 'least', 'most', 'run')
local least = tonumber(s[6] or 0)
local t = redis.call('TIME')
local wall = t[1] * 1000 + math.floor(t[2] / 1000)
local now = tonumber(s[1] or 0) + math.max(0, math.min(wall - tonumber(s[2] or wall), math.floor(least / 3)))
local open = tonumber(s[4] or now)
if s[8] and s[8] ~= string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') then open = now + tonumber(s[7]) end
local places = {}
for i, id in ipairs(redis.call('ZRANGE', Q, 0, -1)) do places[id] = i end
local list, used, alive = redis.call('HGETALL', P), 0, false
local reply = {0, 0, math.max(0, open - now)}
for i = 1, #list, 2 do
  local count, want, ask, offered, label = string.match(list[i + 1], '^(%S+) %S+ (%S+) (%S+) %S+ %S+ (%S+) %S+ %S+ %S+ %S+ ?(.*)$')
  local left = tonumber(redis.call('ZSCORE', D, list[i]) or now) - now
  used = used + tonumber(count)
  alive = true
  reply[#reply + 1] = {0, list[i], label, tonumber(count), tonumber(offered), tonumber(want), places[list[i]] or 0, tonumber(ask), math.max(0, left)}
end
list = redis.call('HGETALL', X)
for i = 1, #list, 2 do
  local count, label = string.match(list[i + 1], '^(%d+) %d+ ?(.*)$')
  used = used + tonumber(count)
  reply[#reply + 1] = {1, list[i], label, tonumber(count), 0, 0, 0, 0, 0}
end
reply[1], reply[2] = alive and tonumber(s[5] or 0) or 0, used
return reply
