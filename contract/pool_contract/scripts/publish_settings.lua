-- publish_settings: write a pool's live settings for its workers, or remove the pool.
--
-- Guarantee: an older leader is refused, as in drain. Removing takes with it what is known of replicas that hold
-- nothing; the epoch stays for a while, so that a late leader cannot bring the pool back.
--
-- Arguments: prefix, pool, epoch (decimal string), settings (JSON text) or null. Reply: true, or the errors STALEEPOCH and
-- WRONGTYPE.

local EPOCH_KEPT_SECONDS = 7 * 86400

local refused = fence(A.pool, A.epoch)
if refused then
  return refused
end
if not fits(key('pp', 'pools'), 'hash') then
  return wrong_type(key('pp', 'pools'), 'hash')
end
if type(A.settings) == 'string' then
  redis.call('HSET', key('pp', 'pools'), A.pool, A.settings)
  return 'true'
end
redis.call('HDEL', key('pp', 'pools'), A.pool)
forget_replicas(A.pool, NOW, -1) -- nobody comes back for the rest
redis.call('EXPIRE', key('pp', 'epoch', A.pool), EPOCH_KEPT_SECONDS)
return 'true'
