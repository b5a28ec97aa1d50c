-- renew: keep claims alive.
--
-- Guarantee: a claim is renewed only while it is this replica's: its owner key names this replica and execution, and
-- neither RQ's cancel() nor delete() has ended it. Of a cancelled or deleted run every trace is removed. The owner key
-- itself is not written, so that a finishing worker's WATCH on it holds. RQ's heartbeat fields and times to live move
-- as its maintain_heartbeats moves them.
--
-- Arguments: prefix, replica, claims [[queue, job, execution], ...], lease_seconds.
-- Reply: ids of the jobs that are no longer this replica's.

local lease_end = NOW + A.lease_seconds
local lease_ttl = math.ceil(A.lease_seconds)
local lost = {}
local beaten = {}

local function beat_worker(worker)
  if beaten[worker] then
    return
  end
  beaten[worker] = true
  local worker_key = key('worker', worker)
  if redis.call('EXISTS', worker_key) == 1 then
    redis.call('HSET', worker_key, 'last_heartbeat', iso_now())
    if redis.call('TTL', worker_key) < lease_ttl + 60 then
      redis.call('EXPIRE', worker_key, lease_ttl + 60)
    end
  end
  redis.call('EXPIRE', key('worker', worker, 'executions'), lease_ttl + 60)
end

local function keep(job, owner)
  local member = job .. ':' .. owner.execution
  redis.call('ZADD', key('pp', 'leases', owner.queue), decimal(lease_end), job)
  redis.call('ZADD', key('wip', owner.queue), 'XX', decimal(lease_end + WIP_MARGIN_SECONDS), member)
  redis.call('HSET', key('execution', member), 'last_heartbeat', decimal(NOW))
  redis.call('EXPIRE', key('execution', member), lease_ttl + 60)
  redis.call('ZADD', key('executions', job), 'XX', SECOND + lease_ttl + 60, owner.execution)
  redis.call('EXPIRE', key('executions', job), lease_ttl + 60)
  redis.call('HSET', key('job', job), 'last_heartbeat', iso_now())
  beat_worker(owner.worker)
end

for _, claim in ipairs(A.claims) do
  local job, execution = claim[2], claim[3]
  local owner = owner_of(job)
  if not owner or owner.execution ~= execution or owner.replica ~= A.replica then
    lost[#lost + 1] = job
  elseif not job_exists(job) or redis.call('HGET', key('job', job), 'status') == 'canceled' or not in_wip(job, owner) then
    forget(job, owner)
    lost[#lost + 1] = job
  else
    keep(job, owner)
  end
end
return cjson.encode(lost)
