-- Set the status of pairs that are in flight, but never back: a worker that was late may mark what went on without it.
-- KEYS: their in-flight keys. ARGV: the status.
for _, key in ipairs(KEYS) do
  local status = redis.call('HGET', key, 'status')
  local went_on = status == 'failed' or (status == 'verifying' and ARGV[1] == 'generating')
  if status and not went_on then redis.call('HSET', key, 'status', ARGV[1]) end
end
return #KEYS
