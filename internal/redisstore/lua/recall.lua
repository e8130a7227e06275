-- Adds to a conversation what another store remembered of it beside the
-- messages that stand; see Past in package store.
-- KEYS  1 list of messages  2 companion hash
-- ARGV  1 generation, hexadecimal  2 trimmedTo, or ''  3 creation in ms, or 0
--       then for each order: order and flags, id, digest, '1' where the payload
--       is kept, payload; the orders of one id together, lowest first
-- Gives the number of ids that were added. The hash is described in
-- conversation.lua.
local list, meta = KEYS[1], KEYS[2]
local FIRST, STRIDE = 4, 5
local count = (#ARGV - FIRST + 1) / STRIDE

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local state = redis.call('HMGET', meta, 'floor', 'trimmedTo', 'highest', 'generation', 'epoch', 'expiresAt', 'lastArrival')
local floor, trimmedTo, highest = state[1] or '', state[2] or '', state[3] or ''
if not state[4] or tonumber(state[4], 16) ~= tonumber(ARGV[1], 16) or tonumber(state[6] or 0) <= now then
  return 0
end

local function integer(n) return string.format('%.0f', n) end
local writes = {}
local function set(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

if ARGV[2] > trimmedTo then
  local oldest = redis.call('LINDEX', list, 0)
  if not oldest or string.sub(oldest, 1, 24) > ARGV[2] then
    trimmedTo = ARGV[2]
    set('trimmedTo', trimmedTo)
  end
end
if ARGV[3] ~= '0' and tonumber(ARGV[3]) < tonumber(state[5] or now) then
  set('epoch', ARGV[3])
end

local arrival, added = tonumber(state[7] or 0), 0
local function arg(i, n) return ARGV[FIRST + i * STRIDE + n] end
local i = 0
while i < count do
  local id, entries, lowest, last, contents = arg(i, 1), {}, nil, nil, {}
  while i < count and arg(i, 1) == id do
    local order = string.sub(arg(i, 0), 1, 24)
    if string.sub(order, 1, 20) >= floor then
      lowest, last = lowest or order, order
      entries[#entries + 1] = order .. arg(i, 2)
      if order > trimmedTo and arg(i, 3) == '1' and not contents[arg(i, 2)] then
        contents[arg(i, 2)] = i
      end
    end
    i = i + 1
  end
  if lowest and lowest <= trimmedTo and not redis.call('HGET', meta, 'i:' .. id) then
    set('i:' .. id, table.concat(entries))
    for digest, n in pairs(contents) do
      arrival = math.max(arrival + 1, micros)
      set('s:' .. digest .. ':' .. id, string.sub(arg(n, 0), 25) .. '|' .. state[4] .. '|' .. integer(arrival) .. '|' .. id .. '|' .. arg(n, 4))
    end
    if last > highest then highest = last end
    added = added + 1
  end
end
if #writes == 0 then
  return 0
end
set('highest', highest)
set('lastArrival', integer(arrival))
for from = 1, #writes, 1000 do
  redis.call('HSET', meta, unpack(writes, from, math.min(from + 999, #writes)))
end
return added
