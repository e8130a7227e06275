-- Notes that a generation is raised because it was lost.
-- KEYS 1 hash: 'n' with a number that grows with each note; 'o:<organisation>' with
--      its generation and when that was noted, in ms since 1970
-- ARGV 1 organisation, 2 generation, 3 for how long notes are kept in ms,
--      4 from how many on older ones are looked for
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = redis.call('HMGET', KEYS[1], 'n', 'o:' .. ARGV[1])
local number = math.max(tonumber(state[1] or '0') + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local noted = tonumber(string.match(state[2] or '', '^%d+') or '0')
local function integer(n) return string.format('%.0f', n) end

redis.call('HSET', KEYS[1], 'n', integer(number), 'o:' .. ARGV[1],
  integer(math.max(noted, tonumber(ARGV[2]))) .. ' ' .. integer(now))
redis.call('PEXPIREAT', KEYS[1], integer(now + tonumber(ARGV[3])))

if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local all, ages = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #all, 2 do
    if all[i] ~= 'n' then ages[#ages + 1] = {tonumber(string.match(all[i + 1], '%d+$') or '0'), all[i]} end
  end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  -- A tenth more than has to go, so that this is rare.
  local most = tonumber(ARGV[4]) * 9 / 10
  for i = 1, #ages do
    if i > #ages - most then break end
    redis.call('HDEL', KEYS[1], ages[i][2])
  end
end
