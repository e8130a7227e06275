-- Writes a value, or its tombstone, if it has the highest (generation, version).
-- KEYS  1 value  [2 the organisation's generation, where it is in the same slot]
-- ARGV  1 record  2 its generation, hexadecimal  3 life in ms, or 0
--       4 expiry in ms since 1970, or 0  5 condition: '', 'absent', 'version', 'seen'
--       6 version of the condition, or ''  7 most ms that a version may be ahead
-- Gives one line: status, version, generation, expiry, time.
local record, version = ARGV[1], string.sub(ARGV[1], 1, 20)
local generation = tonumber(ARGV[2], 16)
local life, expires = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function answer(status, v, expiry)
  local current = KEYS[2] and redis.call('GET', KEYS[2]) or '0'
  return string.format('%s %s %s %.0f %.0f', status, v == '' and '-' or v, current, expiry, now)
end

if tonumber(string.sub(version, 1, 12), 16) > now + tonumber(ARGV[7]) then
  return answer('ahead', '', 0)
end
if expires > 0 and expires <= now then
  return answer('expired', '', 0)
end

-- Header: 20 version, format digit, 2 flags, generation, "|".
local head = redis.call('GETRANGE', KEYS[1], 0, 39)
local stored, storedGeneration, live = '', 0, false
if #head >= 24 then
  stored = string.sub(head, 1, 20)
  storedGeneration = tonumber(string.sub(head, 24, (string.find(head, '|', 24, true) or 25) - 1), 16) or 0
  live = tonumber(string.sub(head, 22, 23), 16) % 2 == 0 and storedGeneration >= generation
end

local function remains()
  local left = redis.call('PTTL', KEYS[1])
  return left > 0 and now + left or 0
end

local condition = ARGV[5]
if condition ~= '' then
  if condition == 'absent' and live
    or condition == 'version' and not (live and stored == ARGV[6])
    or condition == 'seen' and stored ~= ARGV[6] then
    return answer('condition', stored, remains())
  end
end

if storedGeneration > generation then
  return string.format('stale %s %.0f %.0f %.0f', stored, storedGeneration, remains(), now)
end
if storedGeneration == generation and stored ~= '' then
  if stored > version then
    return answer('superseded', stored, remains())
  end
  if stored == version then
    return answer(redis.call('GET', KEYS[1]) == record and 'unchanged' or 'conflict', stored, remains())
  end
end
if expires == 0 then
  expires = now + life
end
redis.call('SET', KEYS[1], record, 'PXAT', string.format('%.0f', expires))
return answer('applied', version, expires)
