-- Put a dead letter back at the end of the stream that it fell out of. Returns 0 where it is no longer there.
-- KEYS: dead stream, stream of its stage, in-flight key. ARGV: entry, status to wait in, then its fields.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[3], 'status', ARGV[2], 'attempts', 0, 'releases', 0)
redis.call('HDEL', KEYS[3], 'reason')
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return 1
