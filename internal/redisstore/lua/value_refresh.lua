-- Prolongs the life of a value that was read, if a good part of it has passed.
-- KEYS  1 value  [2 the organisation's generation, where it is in the same slot]
-- ARGV  1 version that was read  2 generation that its reader knows, hexadecimal
--       3 life in ms  4 end of the life at the latest in ms since 1970, or 0
--       5 the life is prolonged when no more than so many ms are left
-- Gives what is left of the life in ms; 0 if it is not this version that is live.
-- Servers tell of a new expiry as of any change, so what is not due changes nothing.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 39)
if type(head) ~= 'string' or not string.find(head, '^%x+|') or #head < 24 or string.sub(head, 1, 20) ~= ARGV[1]
  or tonumber(string.sub(head, 22, 23), 16) % 2 == 1 then
  return 0
end
local stored = tonumber(string.sub(head, 24, (string.find(head, '|', 24, true) or 25) - 1), 16) or 0
local current = tonumber(KEYS[2] and redis.call('GET', KEYS[2]) or '0') or 0
if stored < tonumber(ARGV[2], 16) or stored < current then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then -- somebody took the expiry away
  return tonumber(ARGV[3])
end
if left > tonumber(ARGV[5]) then
  return left
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local to = now + ARGV[3]
if ARGV[4] ~= '0' then
  to = math.min(to, tonumber(ARGV[4]))
end
-- PTTL and TIME may be read on both sides of a millisecond.
if to <= now + left + 1 then
  return left
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', to))
return to - now
