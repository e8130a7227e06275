-- Raises a heartbeat where nothing happened to the server since it was looked at:
-- the stream of its writes is the same, and the key holds what was written last.
-- KEYS 1 heartbeat
-- ARGV 1 new heartbeat, 2 its life in milliseconds, 3 id of the stream, 4... what the key may hold
-- Gives 1 if it was raised, else 0; what the key held, '' for nothing; the id of the stream.
local info = redis.pcall('INFO', 'replication')
local stream = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' then
  held = ''
end
if stream == ARGV[3] then
  for i = 4, #ARGV do
    if ARGV[i] == held then
      redis.call('DEL', KEYS[1]) -- allowed, with what follows, where there is no memory for a write
      redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
      return {1, held, stream}
    end
  end
end
return {0, held, stream}
