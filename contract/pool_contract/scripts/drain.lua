-- drain: mark replicas and count what they hold, in the same step.
--
-- Guarantee: from here on the claim script gives a marked replica nothing. A count of zero therefore means that it can
-- never hold a job again until the mark goes. A leader with an older epoch than the newest one seen is refused, and
-- nothing is written.
--
-- Arguments: prefix, pool, epoch (decimal string), orders {replica: DrainOrder as JSON text}.
-- Reply: {replica: number of claims}, or the error STALEEPOCH.

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
local counts = {}
for replica, order in pairs(A.orders) do
  redis.call('SET', key('pp', 'drain', replica), order)
  redis.call('DEL', key('pp', 'reserved', replica)) -- another replica may take what it waited for
  note_replica(A.pool, replica, 'NX') -- so that sweep finds the mark one day
  counts[replica] = redis.call('SCARD', key('pp', 'claims', replica))
end
return cjson.encode(counts)
