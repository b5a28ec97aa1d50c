-- renew: keep claims alive.
--
-- Guarantee: a claim is renewed only while it is this replica's: its owner key names this replica and execution, and the
-- job was neither cancelled nor deleted nor enqueued anew; of such a run every trace is removed. The owner key itself is
-- not written, so that a finishing worker's WATCH on it holds. RQ's heartbeat fields and times to live move as its
-- maintain_heartbeats moves them.
--
-- Arguments: prefix, replica, claims [[queue, job, execution], ...], lease_seconds.
-- Reply: ids of the jobs that are no longer this replica's.

local lease_ttl = math.ceil(A.lease_seconds)
local lost = {}
local beaten = {}

local function beat_worker(worker)
  local worker_key = key('worker', worker)
  if not beaten[worker] and kind(worker_key) == 'hash' then
    redis.call('HSET', worker_key, 'last_heartbeat', iso_now())
    if redis.call('TTL', worker_key) < lease_ttl + 60 then
      redis.call('EXPIRE', worker_key, lease_ttl + 60)
    end
  end
  beaten[worker] = true
end

for _, claim in ipairs(A.claims) do
  local job, execution = claim[2], claim[3]
  local owner = owner_of(job)
  if not owner or owner.execution ~= execution or owner.replica ~= A.replica then
    lost[#lost + 1] = job
  elseif not stands(job, owner) then
    forget(job, owner)
    lost[#lost + 1] = job
  else
    -- A full Redis refuses to write until the script has written, and this needs no memory: else all claims would end then.
    redis.call('EXPIRE', key('executions', job), lease_ttl + 60)
    list_execution(job, owner, A.lease_seconds)
    redis.call('HSET', key('job', job), 'last_heartbeat', iso_now())
    beat_worker(owner.worker)
  end
end
return cjson.encode(lost)
