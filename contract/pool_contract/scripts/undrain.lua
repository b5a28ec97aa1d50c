-- undrain: remove drain marks.
--
-- Guarantee: the replicas may claim again from here on. An older leader is refused, as in drain.
--
-- Arguments: prefix, pool, epoch (decimal string), replicas. Reply: how many marks were there, or the error STALEEPOCH.

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
local removed = 0
for _, replica in ipairs(A.replicas) do
  removed = removed + redis.call('DEL', key('pp', 'drain', replica))
end
return cjson.encode(removed)
