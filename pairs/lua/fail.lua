-- Give an entry back to the end of its stream, or to the dead letters when it may not be tried again.
-- KEYS: the stream, in-flight key, dead stream, doorbell channel
-- ARGV: group, entry, id, stage, reason, most attempts (0: no further attempt), status to wait in, then the entry's
--       fields
-- Returns {'retry' | 'dead' | 'gone', attempts}; 'gone' where another delivery settled it first.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return {'gone', 0} end
redis.call('XDEL', KEYS[1], ARGV[2])
local attempts = redis.call('HINCRBY', KEYS[2], 'attempts', 1)
if attempts < tonumber(ARGV[6]) then
  redis.call('HSET', KEYS[2], 'status', ARGV[7], 'reason', ARGV[5])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 8))
  return {'retry', attempts}
end
redis.call('HSET', KEYS[2], 'status', 'failed', 'reason', ARGV[5])
redis.call('XADD', KEYS[3], '*', 'stage', ARGV[4], 'reason', ARGV[5], 'attempts', attempts, unpack(ARGV, 8))
redis.call('PUBLISH', KEYS[4], ARGV[3])
return {'dead', attempts}
