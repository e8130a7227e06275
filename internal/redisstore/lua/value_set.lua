-- Writes a value, or its tombstone, if it has the highest (generation, version).
-- KEYS  1 value  [2 the organisation's generation, where it is in the same slot]
-- ARGV  1 record  2 its generation, hexadecimal  3 life in ms, or 0
--       4 expiry in ms since 1970, or 0  5 condition: '', 'absent', 'version', 'seen'
--       6 version of the condition, or ''  7 most ms that a version may be ahead
--       8 '1' for a deletion
-- Gives one line: status, version, generation, what is left of the life in ms,
-- and the time in seconds and microseconds. Numbers stay the texts that they are
-- where that can be: making them costs as much as a command.
local record, version = ARGV[1], string.sub(ARGV[1], 1, 20)
local generation = tonumber(ARGV[2], 16)
local time = redis.call('TIME')
local current = KEYS[2] and redis.call('GET', KEYS[2]) or '0'
if not tonumber(current) then
  return redis.error_reply('ERR the generation of the organisation is not a number')
end
local tail = ' ' .. time[1] .. ' ' .. time[2]

local life = ARGV[3]
if ARGV[4] ~= '0' then
  local left = ARGV[4] - (time[1] * 1000 + math.floor(time[2] / 1000))
  if left <= 0 then
    return 'expired - ' .. current .. ' 0' .. tail
  end
  life = string.format('%.0f', left)
end

-- Header: 20 version, format digit, 2 flags, generation, "|". What does not look
-- like one was put there by somebody else and does not count.
local head = redis.call('GETRANGE', KEYS[1], 0, 39)
local stored, storedGeneration, status = '', 0, nil
if string.find(head, '^%x+|') and #head >= 24 then
  stored = string.sub(head, 1, 20)
  storedGeneration = tonumber(string.sub(head, 24, (string.find(head, '|', 24, true) or 25) - 1), 16) or 0
end
-- A version may be ahead of what is stored, if not of the time: a clock that was
-- wrong must not lock a key.
local ahead = tonumber(string.sub(version, 1, 12), 16) - ARGV[7]
if ahead > time[1] * 1000 + math.floor(time[2] / 1000)
  and (stored == '' or ahead > tonumber(string.sub(stored, 1, 12), 16)) then
  return 'ahead - ' .. current .. ' 0' .. tail
end
local condition = ARGV[5]
if condition ~= '' and generation < tonumber(current) then
  -- It was made from what is not there any more: what is there is not its business.
  status = 'stale '
elseif condition ~= '' then
  local live = stored ~= '' and storedGeneration >= generation and tonumber(string.sub(head, 22, 23), 16) % 2 == 0
  if condition == 'absent' and live
    or condition == 'version' and not (live and stored == ARGV[6])
    or condition == 'seen' and stored ~= ARGV[6] then
    status = 'condition '
  end
end
if not status and stored ~= '' then
  if storedGeneration > generation then
    status, current = 'stale ', string.format('%.0f', math.max(storedGeneration, current))
  elseif storedGeneration == generation and stored > version then
    status = 'superseded '
  elseif storedGeneration == generation and stored == version then
    status = redis.call('GET', KEYS[1]) == record and 'unchanged ' or 'conflict '
  end
end
if status then
  local left = redis.call('PTTL', KEYS[1])
  return status .. (stored == '' and '-' or stored) .. ' ' .. current
    .. ' ' .. string.format('%.0f', math.max(left, 0)) .. tail
end
if ARGV[8] == '1' then
  -- A deletion must work where there is no memory for a write: DEL is allowed
  -- then, and what follows it in a script, too.
  redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], record, 'PX', life)
return 'applied ' .. version .. ' ' .. current .. ' ' .. life .. tail
