-- Raises a generation for an invalidation that may be repeated, as generation_bump
-- does: its answer is kept beside the generation.
-- KEYS 1 generation, 2 answer
-- ARGV 1 known, 2 life of the answer in milliseconds
-- Gives the generation that the invalidation led to.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
local kept = redis.call('GET', KEYS[2])
local time = redis.call('TIME')
local next = kept and tonumber(kept)
  or math.max(stored + 1, tonumber(ARGV[1]) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local text = string.format('%.0f', next)
if not kept then
  redis.call('DEL', KEYS[2]) -- allowed, with what follows, where there is no memory for a write
  redis.call('SET', KEYS[2], text, 'PX', ARGV[2])
end
if next > stored then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], text)
end
return text
