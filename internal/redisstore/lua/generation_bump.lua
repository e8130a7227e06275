-- Raises a generation above what is stored and above what the caller knows.
-- KEYS 1 generation   ARGV 1 known   Gives the new generation.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
local next = string.format('%.0f', math.max(stored, tonumber(ARGV[1])) + 1)
redis.call('DEL', KEYS[1]) -- allowed, with what follows, where there is no memory for a write
redis.call('SET', KEYS[1], next)
return next
