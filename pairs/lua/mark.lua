-- Set the status of pairs that are still in flight. KEYS: their in-flight keys. ARGV: the status.
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'status', ARGV[1]) end
end
return #KEYS
