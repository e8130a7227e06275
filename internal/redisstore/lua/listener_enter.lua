-- Enters a process that gives copies into the list, or prolongs its entry, ends its
-- suspension, and removes entries that are over, or of processes that are dead.
-- KEYS 1 list   ARGV 1 id of the process  2 its bound in ms  3 life of the entry in ms
--               4... ids of processes that are dead
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local own = now + tonumber(ARGV[3])
local last = own
redis.call('HDEL', KEYS[1], 'suspended:' .. ARGV[1])
for i = 4, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i], 'suspended:' .. ARGV[i])
end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends = tonumber(string.match(all[i + 1], ' (%d+)$') or '0')
  if ends <= now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif ends > last then
    last = ends
  end
end
-- The plus sign says that the process heeds its suspension.
redis.call('HSET', KEYS[1], ARGV[1], string.format('+%s %.0f', ARGV[2], own))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
return 1
