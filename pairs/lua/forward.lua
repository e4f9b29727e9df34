-- Acknowledge a job and hand its candidate on, in one step. Returns 0 where another delivery did it first.
-- KEYS: jobs stream, candidates stream, in-flight key. ARGV: group, entry, fields of the candidate's entry.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('HSET', KEYS[3], 'status', 'verifying', 'attempts', 0, 'releases', 0)
return 1
