-- Reads the list of processes that give copies.
-- KEYS 1 list
-- Gives the time in ms, the history of replication, and the fields and values of the
-- list. The history is empty where nobody is suspended, and where this is no master.
local time = redis.call('TIME')
local given = {string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)), ''}
local all, suspended = redis.call('HGETALL', KEYS[1]), false
for i = 1, #all do
  given[i + 2] = all[i]
  suspended = suspended or i % 2 == 1 and string.sub(all[i], 1, 10) == 'suspended:'
end
if suspended then
  local info = redis.call('INFO', 'replication')
  if string.find(info, 'role:master', 1, true) then
    given[2] = string.match(info, 'master_replid:(%x+)') or ''
  end
end
return given
