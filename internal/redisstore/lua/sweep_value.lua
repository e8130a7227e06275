-- Removes a value that is of a lower generation.
-- KEYS 1 value  [2 the organisation's generation, where it is in the same slot]
-- ARGV 1 generation that was read before, decimal   Gives 1 if it was removed, else 0.
-- The generation may have been lost since: what was written then is of a lower one.
-- What does not look like a record was put there by somebody else and stays.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 39)
if type(head) ~= 'string' or not string.find(head, '^%x+|') or #head < 24 then
  return 0
end
local stored = tonumber(string.sub(head, 24, (string.find(head, '|', 24, true) or 25) - 1), 16) or 0
local below = tonumber(ARGV[1])
if KEYS[2] then
  below = math.min(below, tonumber(redis.call('GET', KEYS[2]) or '0') or 0)
end
if stored >= below then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
