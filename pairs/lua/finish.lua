-- Acknowledge candidates whose pairs are stored, and ring for whoever waits.
-- KEYS: candidates stream, doorbell channel, then the in-flight key of each. ARGV: group, then entry and id of each.
-- Returns for each 1, or 0 where it was done before.
local first = {}
for i = 3, #KEYS do
  local entry, id = ARGV[2 * i - 4], ARGV[2 * i - 3]
  first[i - 2] = redis.call('XACK', KEYS[1], ARGV[1], entry)
  if first[i - 2] == 1 then
    redis.call('XDEL', KEYS[1], entry)
    redis.call('DEL', KEYS[i])
    redis.call('PUBLISH', KEYS[2], id)
  end
end
return first
