-- Raises a generation above what is stored and above what the caller knows.
-- KEYS 1 generation
-- ARGV 1 known, 2 '1' where a generation that is stored, or missing, may be behind one
--      that was lost
-- Gives the new generation.
local next = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
if ARGV[2] == '1' then
  -- Above every one that was given before, which others are about to restore; and so
  -- it tells when it was.
  local time = redis.call('TIME')
  next = math.max(next, tonumber(time[1]) * 1000000 + tonumber(time[2]))
end
next = string.format('%.0f', next)
redis.call('DEL', KEYS[1]) -- allowed, with what follows, where there is no memory for a write
redis.call('SET', KEYS[1], next)
return next
