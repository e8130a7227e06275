-- Gives the lease to load a key back.
-- KEYS 1 lease   ARGV 1 token   Gives 1, or 0 if it is not the token's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
