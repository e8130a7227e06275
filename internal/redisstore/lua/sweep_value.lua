-- Removes a value that is of a lower generation.
-- KEYS 1 value   ARGV 1 generation, decimal   Gives 1 if it was removed, else 0.
-- What does not look like a record was put there by somebody else and stays.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 39)
if type(head) ~= 'string' or not string.find(head, '^%x+|') or #head < 24 then
  return 0
end
local stored = tonumber(string.sub(head, 24, (string.find(head, '|', 24, true) or 25) - 1), 16) or 0
if stored >= tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
