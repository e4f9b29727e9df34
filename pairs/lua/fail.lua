-- Give an entry back to the end of its stream, or to the dead letters when it may not be tried again.
-- KEYS: the stream, in-flight key, dead stream, doorbell channel
-- ARGV: group, entry, id, payload, stage, reason, most attempts (0: no further attempt), status to wait in
-- Returns {'retry' | 'dead' | 'gone', attempts}; 'gone' where another delivery settled it first.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return {'gone', 0} end
redis.call('XDEL', KEYS[1], ARGV[2])
local attempts = redis.call('HINCRBY', KEYS[2], 'attempts', 1)
if attempts < tonumber(ARGV[7]) then
  redis.call('HSET', KEYS[2], 'status', ARGV[8], 'reason', ARGV[6])
  redis.call('XADD', KEYS[1], '*', 'id', ARGV[3], 'payload', ARGV[4])
  return {'retry', attempts}
end
redis.call('HSET', KEYS[2], 'status', 'failed', 'reason', ARGV[6])
redis.call('XADD', KEYS[3], '*', 'id', ARGV[3], 'stage', ARGV[5], 'reason', ARGV[6], 'attempts', attempts,
  'payload', ARGV[4])
redis.call('PUBLISH', KEYS[4], ARGV[3])
return {'dead', attempts}
