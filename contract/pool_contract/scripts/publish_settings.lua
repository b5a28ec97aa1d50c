-- publish_settings: write a pool's live settings for its workers and the limits of its claims, or remove the pool.
--
-- Guarantee: an older leader is refused, as in drain. Settings and limits change in one step; what was granted and used
-- is not touched. Removing takes with it the limits, the ended runs and what is known of replicas that hold nothing; the
-- epoch stays for a while, so that a late leader cannot bring the pool back.
--
-- Arguments: prefix, pool, epoch (decimal string), settings (JSON text) or null, limits {field: number; 0 for none}.
-- Reply: true, or the errors STALEEPOCH and WRONGTYPE.

local EPOCH_KEPT_SECONDS = 7 * 86400

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
if not fits(key('pp', 'pools'), 'hash') then
  return wrong_type(key('pp', 'pools'), 'hash')
end
local limits = key('pp', 'limits', A.pool)
if not fits(limits, 'hash') then
  return wrong_type(limits, 'hash')
end
if type(A.settings) == 'string' then
  for field, value in pairs(A.limits) do
    if value > 0 then
      redis.call('HSET', limits, field, exactly(value))
    else
      redis.call('HDEL', limits, field)
    end
  end
  redis.call('HSET', key('pp', 'pools'), A.pool, A.settings)
  return 'true'
end
redis.call('HDEL', key('pp', 'pools'), A.pool)
redis.call('DEL', limits, key('pp', 'starts', A.pool), key('pp', 'runs', A.pool))
forget_replicas(A.pool, NOW, -1) -- nobody comes back for the rest
redis.call('EXPIRE', key('pp', 'epoch', A.pool), EPOCH_KEPT_SECONDS)
return 'true'
