-- Raises a generation above what is stored and above what the caller knows.
-- KEYS 1 generation
-- ARGV 1 known, 2 '1' where a generation that is missing may be one that was lost
-- Gives the new generation.
local stored = redis.call('GET', KEYS[1])
local next = math.max(tonumber(stored or '0'), tonumber(ARGV[1])) + 1
if not stored and ARGV[2] == '1' then
  -- Above every one that was given before, which others are about to restore.
  local time = redis.call('TIME')
  next = math.max(next, tonumber(time[1]) * 1000000 + tonumber(time[2]))
end
next = string.format('%.0f', next)
redis.call('DEL', KEYS[1]) -- allowed, with what follows, where there is no memory for a write
redis.call('SET', KEYS[1], next)
return next
