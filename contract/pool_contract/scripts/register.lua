-- register: become this replica.
--
-- Guarantee: from now on the claim script serves only this incarnation; what an older process of the same replica still
-- held is given back at once, as a loss. A drain mark stays: it is the replica's, not the process's. Registering again
-- as the same incarnation changes nothing.
--
-- Arguments: prefix, pool, replica, incarnation, max_losses.
-- Reply: [{job_id, queue, replica, losses, exhausted}, ...]: what was given back.

local incarnation_key, claims_key = key('pp', 'incarnation', A.replica), key('pp', 'claims', A.replica)
local back = {}
forget_replicas(A.pool, NOW - SILENT_SECONDS, PRUNED_AT_MOST) -- of a worker that runs alone, nobody else does it
note_replica(A.pool, A.replica, 'NX')
if redis.call('GET', incarnation_key) ~= A.incarnation then
  local held = {}
  for _, job in ipairs(redis.call('SMEMBERS', claims_key)) do
    local owner = owner_of(job)
    if not owner or owner.replica ~= A.replica then
      redis.call('SREM', claims_key, job)
    elseif fits(key('queue', owner.queue), 'list') then -- else its lease runs out later, when the key is mended
      held[#held + 1] = {job, owner}
    end
  end
  -- the job claimed first stands first again
  table.sort(held, function(a, b) return tonumber(a[2].claimed_at) > tonumber(b[2].claimed_at) end)
  for _, one in ipairs(held) do
    back[#back + 1] = lose(one[1], one[2], A.max_losses, false)
  end
  redis.call('SET', incarnation_key, A.incarnation, 'EX', INCARNATION_KEPT_SECONDS)
  redis.call('DEL', key('pp', 'reserved', A.replica))
end
return cjson.encode(back)
