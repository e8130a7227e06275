-- Raises a generation to at least the given one; the form that can be repeated.
-- KEYS 1 generation   ARGV 1 at least   Gives the generation.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
local wanted = tonumber(ARGV[1])
if wanted <= stored then
  return string.format('%.0f', stored)
end
redis.call('SET', KEYS[1], string.format('%.0f', wanted))
return string.format('%.0f', wanted)
