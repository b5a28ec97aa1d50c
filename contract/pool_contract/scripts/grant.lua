-- grant: let a pool's claims take money.
--
-- Guarantee: claims of the pool are given while what they have ever taken (`used`, which only grows) stays within
-- `granted`, and not after ttl_seconds by Redis' clock. An older leader is refused, as in drain. `used` is not touched:
-- a claim that comes between the leader's reading and this grant is counted. Where `used` is less than in that reading,
-- Redis has forgotten (FLUSHALL, a fail-over): up to `granted` it would be paid twice, so nothing is written.
--
-- Arguments: prefix, pool, epoch (decimal string), granted, used (as the leader read it), ttl_seconds.
-- Reply: whether it was written, or the errors STALEEPOCH and WRONGTYPE.

local ROUNDING = 1e-9 -- of sums of money

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
local limits = key('pp', 'limits', A.pool)
if not fits(limits, 'hash') then
  return wrong_type(limits, 'hash')
end
if (tonumber(redis.call('HGET', limits, 'used') or 0) or 0) < A.used - ROUNDING then
  return 'false'
end
redis.call('HSET', limits, 'granted', exactly(A.granted), 'granted_until', decimal(NOW + A.ttl_seconds))
return 'true'
