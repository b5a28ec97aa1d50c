-- ledger_tail: the newest chunks of a pool's ledger, back to one with a checkpoint. Writes nothing.
--
-- Arguments: prefix, pool, before (id of a chunk, its elders are meant; null: from the end), limit.
-- Reply: {chunks = {{id, z}, …} oldest first, checkpoint (one is among them), more (there are elders)}.

local LEDGER = key('pp', 'ledger', A.pool)
if not fits(LEDGER, 'stream') then
  return wrong_type(LEDGER, 'stream')
end
local till = type(A.before) == 'string' and '(' .. A.before or '+'
local found = redis.call('XREVRANGE', LEDGER, till, '-', 'COUNT', A.limit)
local chunks, checkpoint = {}, false
for _, entry in ipairs(found) do
  local fields = {}
  for index = 1, #entry[2], 2 do
    fields[entry[2][index]] = entry[2][index + 1]
  end
  table.insert(chunks, 1, {entry[1], fields.z or ''})
  if fields.checkpoint == '1' then
    checkpoint = true
    break
  end
end
return cjson.encode({
  chunks = #chunks > 0 and chunks or cjson.decode('[]'), checkpoint = checkpoint, more = #found == A.limit,
})
