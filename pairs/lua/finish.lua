-- Acknowledge a candidate whose pair is stored, and ring for whoever waits. Returns 0 where it was done before.
-- KEYS: candidates stream, in-flight key, doorbell channel. ARGV: group, entry, id.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', KEYS[3], ARGV[3])
return 1
