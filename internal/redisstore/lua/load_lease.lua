-- Takes the lease to load a key, or prolongs it.
-- KEYS 1 lease
-- ARGV 1 token: 36 digits that sort by what was missed, and who missed it  2 life in ms
-- Gives 0 if it is the token's now, else how many ms another's has left, at least 1.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] and string.sub(owner, 1, 36) >= string.sub(ARGV[1], 1, 36) then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then -- what never ends is no lease
    return left
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
