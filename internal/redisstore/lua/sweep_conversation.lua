-- Removes what a conversation of a lower generation holds. Its floor stays as
-- long as it is remembered: it belongs to no generation.
-- KEYS 1 list of messages  2 companion hash
--      [3 the organisation's generation, where it is in the same slot]
-- ARGV 1 generation that was read before, decimal
-- Gives 1 if something was removed, else 0. The hash is described in
-- conversation.lua.
local list, meta = KEYS[1], KEYS[2]
local newest = redis.pcall('LINDEX', list, -1)
if type(newest) == 'table' then
  return 0 -- somebody else's
end
local state = redis.call('HMGET', meta, 'generation', 'floor', 'expiresAt', 'keepUntil', 'lastArrival')
local stored
if state[1] then
  stored = tonumber(state[1], 16)
elseif newest then
  -- Without its companion the newest message tells.
  stored = tonumber(string.match(newest, '^%x+|(%x+)|') or '', 16)
end
local below = tonumber(ARGV[1])
if KEYS[3] then -- it may have been lost since: what was written then is of a lower one
  below = math.min(below, tonumber(redis.call('GET', KEYS[3]) or '0') or 0)
end
if not stored or stored >= below then
  return 0
end
local floor, expiry = state[2] or '', tonumber(state[3] or 0)
if not newest and expiry == 0 then
  return 0 -- swept before: only its floor is there
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local keep = math.max(expiry, tonumber(state[4] or 0))
redis.call('DEL', list, meta)
if floor ~= '' and keep > now then
  redis.call('HSET', meta, 'generation', state[1], 'floor', floor,
    'keepUntil', string.format('%.0f', keep), 'lastArrival', state[5] or '0')
  redis.call('PEXPIREAT', meta, string.format('%.0f', keep))
end
return 1
