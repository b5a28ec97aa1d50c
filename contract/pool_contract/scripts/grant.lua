-- grant: let a pool's claims take money.
--
-- Guarantee: claims of the pool are given while what they have ever taken (`used`, which only grows) stays within
-- `granted`, and not after ttl_seconds by Redis' clock. An older leader is refused, as in drain. `used` is not touched:
-- a claim that comes between the leader's reading and this grant is counted.
--
-- Arguments: prefix, pool, epoch (decimal string), granted, ttl_seconds. Reply: true, or the errors STALEEPOCH and
-- WRONGTYPE.

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
local limits = key('pp', 'limits', A.pool)
if not fits(limits, 'hash') then
  return wrong_type(limits, 'hash')
end
redis.call('HSET', limits, 'granted', exactly(A.granted), 'granted_until', decimal(NOW + A.ttl_seconds))
return 'true'
