-- Raises a generation above what is stored and above what the caller knows, to the time
-- where that is higher: above every one that was given before and lost, which others
-- are about to restore; and so it tells when it was.
-- KEYS 1 generation   ARGV 1 known   Gives the new generation.
local time = redis.call('TIME')
local next = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, tonumber(ARGV[1]) + 1,
  tonumber(time[1]) * 1000000 + tonumber(time[2]))
next = string.format('%.0f', next)
redis.call('DEL', KEYS[1]) -- allowed, with what follows, where there is no memory for a write
redis.call('SET', KEYS[1], next)
return next
