-- Accept jobs, or none of them.
-- KEYS: jobs stream, candidates stream, idempotency key (only when the request has one)
-- ARGV: most pairs in flight, fingerprint of the request, lifetime of the idempotency key (s), prefix of the
--       in-flight keys, then id, job (JSON) and trace ('' for none) of each
-- Returns {'ok'}, {'full'}, {'conflict'}, or {'replay', id, ...}.
if KEYS[3] then
  local known = redis.call('HGETALL', KEYS[3])
  if #known > 0 then
    local fields = {}
    for i = 1, #known, 2 do fields[known[i]] = known[i + 1] end
    if fields.fingerprint ~= ARGV[2] then return {'conflict'} end
    return {'replay', unpack(cjson.decode(fields.ids))}
  end
end
local count = (#ARGV - 4) / 3
if redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + count > tonumber(ARGV[1]) then return {'full'} end
local ids = {}
for i = 5, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
  redis.call('HSET', ARGV[4] .. ARGV[i], 'job', ARGV[i + 1], 'status', 'queued', 'attempts', 0)
  local fields = {'id', ARGV[i], 'payload', ARGV[i + 1]}
  if ARGV[i + 2] ~= '' then fields[5], fields[6] = 'trace', ARGV[i + 2] end
  redis.call('XADD', KEYS[1], '*', unpack(fields))
end
if KEYS[3] then
  redis.call('HSET', KEYS[3], 'fingerprint', ARGV[2], 'ids', cjson.encode(ids))
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
return {'ok'}
