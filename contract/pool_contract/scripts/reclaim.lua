-- reclaim: give back every job whose lease has ended.
--
-- Guarantee: fenced on our own lease and owner keys, never on RQ's wip; any number of housekeepers at once give a job
-- back exactly once, to the head of its queue, and count one loss. Only a loss while the job ran alone, on a replica
-- that is not excused, is a strike; with more strikes than max_losses the job is flagged, and the next claim ends it.
-- A job that was cancelled, deleted or ended meanwhile is not put back; the traces of its run are removed. With a pool's
-- queues go those that its replicas still hold claims of, although the pool has them no longer.
--
-- Arguments: prefix, queues, pools (UIDs), max_losses, excused_replicas.
-- Reply: [{job_id, queue, replica, losses, exhausted}, ...].

local LIMIT = 1000

local excused, back = {}, {}
for _, replica in ipairs(A.excused_replicas) do
  excused[replica] = true
end
-- the queues asked for, then those that are found by the claims of the pools' replicas
local queues, listed = {}, {}
local function list(queue)
  if not listed[queue] then
    listed[queue] = true
    queues[#queues + 1] = queue
  end
end
for _, queue in ipairs(A.queues) do
  list(queue)
end
for _, pool in ipairs(A.pools) do
  local replicas = key('pp', 'replicas', pool)
  for _, replica in ipairs(fits(replicas, 'zset') and redis.call('ZRANGE', replicas, 0, -1) or {}) do
    local claims = key('pp', 'claims', replica)
    for _, job in ipairs(fits(claims, 'set') and redis.call('SMEMBERS', claims) or {}) do
      local owner = owner_of(job)
      if owner and filled(owner.queue) then
        list(owner.queue)
      end
    end
  end
end
for _, queue in ipairs(queues) do
  local leases = key('pp', 'leases', queue)
  if fits(leases, 'zset') and fits(key('queue', queue), 'list') and fits(key('wip', queue), 'zset') then
    local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. decimal(NOW), 'LIMIT', 0, LIMIT)
    for i = #ended, 1, -1 do -- the lease that ended first stands first again
      local job = ended[i]
      local owner = owner_of(job)
      if owner and owner.queue == queue then
        back[#back + 1] = lose(job, owner, A.max_losses, excused[owner.replica])
      else
        redis.call('ZREM', leases, job)
      end
    end
  end
end
return cjson.encode(back)
