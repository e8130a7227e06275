-- Notes that a generation is raised because it was lost.
-- KEYS 1 sorted set: '<generation> <organisation>', by the number of the note
-- ARGV 1 generation, a blank, organisation  2 for how long notes are kept in ms
--      3 how many are kept: the newest  4 the highest number that a note may have
local time = redis.call('TIME')
local seconds, micros = tonumber(time[1]), tonumber(time[2])
local function integer(n) return string.format('%.0f', n) end

-- The clock of another server may have been ahead. What is no number of a note was put
-- there by somebody else, and does not count.
local last = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[4], '-inf', 'BYSCORE', 'REV', 'LIMIT', '0', '1', 'WITHSCORES')
local number = math.max(seconds * 1000000 + micros, tonumber(last[2] or '0') + 1)
redis.call('ZADD', KEYS[1], integer(number), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], '0', '-' .. integer(tonumber(ARGV[3]) + 1))
redis.call('PEXPIREAT', KEYS[1], integer(seconds * 1000 + math.floor(micros / 1000) + tonumber(ARGV[2])))
