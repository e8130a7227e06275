-- Suspends a process that gives copies and does not answer, and tells it: no later
-- signal of it counts until it has entered the list again.
-- KEYS 1 list  2 key by which the process is told   ARGV 1 id of the process
-- Gives 1, or 0 if it is suspended already, not in the list, or does not heed it.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local entry = redis.call('HGET', KEYS[1], ARGV[1])
local ends = entry and string.match(entry, '^%+%d+ (%d+)$')
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if not ends or tonumber(ends) <= now or not history then
  return 0
end
local field = 'suspended:' .. ARGV[1]
local former = redis.call('HGET', KEYS[1], field)
-- Of another history it may be one that was ended since.
if former and string.match(former, '^suspended (%x+) ') == history then
  return 0
end
redis.call('HSET', KEYS[1], field, string.format('suspended %s %.0f %s', history, now, ends))
redis.call('SET', KEYS[2], '1')
redis.call('DEL', KEYS[2])
return 1
