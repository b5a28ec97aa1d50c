-- ledger_append: add chunks to a pool's ledger.
--
-- Guarantee: all chunks or none, right behind what the caller wrote last, and never by an older leader. The ledger keeps
-- to its bounds: the oldest chunks go. If Redis lost or already has what the caller thinks, nothing is written.
--
-- Arguments: prefix, pool, epoch (decimal string), after (bytes ever written, as far as the caller knows; null: begin
-- wherever it ends), chunks (list of {from, to, checkpoint, z}), max_entries, max_bytes, ttl_seconds.
-- Reply: {written, end_bytes}, or the errors STALEEPOCH and WRONGTYPE.

local DROPPED_AT_MOST = 256
local LEDGER = key('pp', 'ledger', A.pool)
local EPOCH = key('pp', 'epoch', A.pool)

-- start and length of a chunk
local function extent(entry)
  local fields = {}
  for index = 1, #entry[2], 2 do
    fields[entry[2][index]] = entry[2][index + 1]
  end
  return tonumber(fields.start) or 0, #(fields.z or '')
end

local epoch_lives = redis.call('TTL', EPOCH) -- that of a deleted pool ends, and its last records must not change that
local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
if epoch_lives > 0 then
  redis.call('EXPIRE', EPOCH, epoch_lives)
end
if not fits(LEDGER, 'stream') then
  return wrong_type(LEDGER, 'stream')
end

local last = redis.call('XREVRANGE', LEDGER, '+', '-', 'COUNT', 1)[1]
local size = 0
if last then
  local start, length = extent(last)
  size = start + length
end
if type(A.after) == 'number' and A.after ~= size then
  return cjson.encode({written = false, end_bytes = size})
end
for _, chunk in ipairs(A.chunks) do
  redis.call('XADD', LEDGER, 'MAXLEN', '~', A.max_entries, '*', 'from', chunk.from, 'to', chunk.to,
    'checkpoint', chunk.checkpoint, 'start', string.format('%.0f', size), 'z', chunk.z)
  size = size + #chunk.z
end
for _ = 1, DROPPED_AT_MOST do
  local first = redis.call('XRANGE', LEDGER, '-', '+', 'COUNT', 1)[1]
  if not first or size - extent(first) <= A.max_bytes then
    break
  end
  redis.call('XDEL', LEDGER, first[1])
end
redis.call('EXPIRE', LEDGER, A.ttl_seconds)
return cjson.encode({written = true, end_bytes = size})
