-- Claims an instance number for a process, or prolongs its claim.
-- KEYS 1 claim   ARGV 1 id of the process  2 life in ms   Gives 1, or 0 if taken.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
