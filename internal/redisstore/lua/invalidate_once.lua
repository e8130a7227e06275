-- Raises a generation for an invalidation that may be repeated: its answer is
-- kept beside the generation.
-- KEYS 1 generation, 2 answer
-- ARGV 1 known, 2 '1' where a generation that is stored, or missing, may be behind one
--      that was lost, 3 life of the answer in milliseconds
-- Gives the generation that the invalidation led to.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
local kept = redis.call('GET', KEYS[2])
local next = kept and tonumber(kept) or math.max(stored, tonumber(ARGV[1])) + 1
if not kept and ARGV[2] == '1' then
  -- Above every one that was given before, which others are about to restore; and so
  -- it tells when it was.
  local time = redis.call('TIME')
  next = math.max(next, tonumber(time[1]) * 1000000 + tonumber(time[2]))
end
local text = string.format('%.0f', next)
if not kept then
  redis.call('DEL', KEYS[2]) -- allowed, with what follows, where there is no memory for a write
  redis.call('SET', KEYS[2], text, 'PX', ARGV[3])
end
if next > stored then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], text)
end
return text
