-- Give an entry back to the end of its stream without using up an attempt.
-- KEYS: the stream, in-flight key. ARGV: group, entry, status to wait in, most releases, then the entry's fields.
-- Returns 'released', 'worn' where it was given back too often (nothing is changed then), or 'gone' where another
-- delivery settled it first.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[2], 'releases') or '0') >= tonumber(ARGV[4]) then return 'worn' end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'releases', 1)
redis.call('HSET', KEYS[2], 'status', ARGV[3])
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 5))
return 'released'
