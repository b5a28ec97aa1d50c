-- claim: give a replica the next job.
--
-- Guarantee: in one step the job leaves its queue and belongs to this replica alone: RQ's keys are those of a started
-- execution (wip entry, execution, status), our lease and owner key are written. A replica with a drain mark, another
-- incarnation of the replica, or a replica that waits to be empty gets nothing. Asked again with the same execution id
-- (a lost reply), it answers with the same claim. Ids that are no job, or copies of a job that is elsewhere, are dropped.
-- A job that was lost before runs alone: the first replica that meets it sets itself aside and takes it when it is
-- empty; others look past it, but one that is empty takes it at once.
-- The pool's limits hold for all its replicas together: in any 60 s at most rate_per_minute jobs start, at most
-- max_concurrent are claimed, and where a claim costs money (commitment) it is given only within the leader's grant, of
-- which it takes its part in the same step; no grant, or one that has ended, gives nothing. A refused claim takes nothing.
-- A job that was lost too often is not run, only ended: the limits do not hold it back, and it takes nothing of them.
--
-- Arguments: prefix, pool, replica, incarnation, worker, queues (strict priority), execution_id, lease_seconds, commitment.
-- Reply: {claimed = {job_id, queue, execution_id, alone, exhausted, losses, hint_seconds, claimed_at}} or
-- {refusal = "Empty" | ..., retry_seconds or nothing}.

local LOOK_PAST = 20
local DROP_AT_MOST = 1000
local RATE_WINDOW_SECONDS = 60
local ROUNDING = 1e-9 -- of sums of money

local claims_key, reserved_key = key('pp', 'claims', A.replica), key('pp', 'reserved', A.replica)
local lease_ttl = math.ceil(A.lease_seconds)
local dropped = 0

local function refuse(why, retry_seconds)
  return cjson.encode({refusal = why, retry_seconds = retry_seconds})
end

local function reply(job, queue, losses, alone, exhausted)
  return cjson.encode({claimed = {
    job_id = job, queue = queue, execution_id = A.execution_id, losses = losses, alone = alone, exhausted = exhausted,
    hint_seconds = hint_of(job), claimed_at = tonumber(redis.call('HGET', key('pp', 'owner', job), 'claimed_at')),
  }})
end

local function usable(queue)
  return fits(key('queue', queue), 'list') and fits(key('wip', queue), 'zset') and fits(key('pp', 'leases', queue), 'zset')
end

local function loss_of(job)
  local it = fields(key('job', job), 'pp_losses', 'pp_strikes', 'pp_exhausted', 'pp_reserved_by')
  return {
    losses = tonumber(it.pp_losses or 0) or 0,
    strikes = tonumber(it.pp_strikes or 0) or 0,
    exhausted = it.pp_exhausted == '1',
    reserved_by = it.pp_reserved_by,
  }
end

-- --- the pool's limits ----------------------------------------------------------------------------------------------

local limits_key, starts_key, replicas_key = key('pp', 'limits', A.pool), key('pp', 'starts', A.pool), key('pp', 'replicas', A.pool)
local held = 0 -- claims of this replica
local limit -- {rate, concurrent, cost, used, granted, granted_until}

local function limits_of_pool()
  local it = fields(limits_key, 'rate_per_minute', 'max_concurrent', 'commitment', 'used', 'granted', 'granted_until')
  return {
    rate = math.floor(tonumber(it.rate_per_minute) or 0), concurrent = tonumber(it.max_concurrent) or 0,
    cost = math.max(tonumber(it.commitment) or 0, A.commitment), used = tonumber(it.used) or 0,
    granted = tonumber(it.granted) or 0, granted_until = tonumber(it.granted_until) or 0,
  }
end

local function crowded()
  local claims = held
  for _, replica in ipairs(redis.call('ZRANGE', replicas_key, 0, -1)) do
    if claims >= limit.concurrent then
      break
    end
    if replica ~= A.replica then
      local others = redis.pcall('SCARD', key('pp', 'claims', replica))
      claims = claims + (type(others) == 'number' and others or 1) -- unknown is not zero
    end
  end
  return claims >= limit.concurrent
end

-- Seconds until one more job may start: when the one that started `rate` starts ago is older than the window
local function seconds_to_start()
  local at = tonumber(redis.call('LINDEX', starts_key, limit.rate - 1) or nil)
  local seconds = at and at + RATE_WINDOW_SECONDS - NOW or 0
  return seconds <= 2 * RATE_WINDOW_SECONDS and seconds or 0 -- else Redis' clock was set back: that start is long over
end

-- The refusal of one more run, or nil
local function limited()
  limit = limit or limits_of_pool()
  -- said the positive way: a number that is none is within nothing
  local paid = NOW < limit.granted_until and limit.used + limit.cost <= limit.granted + ROUNDING
  if limit.cost > 0 and not paid then
    return refuse('Budget')
  elseif limit.concurrent > 0 and crowded() then
    return refuse('Concurrency')
  elseif limit.rate > 0 and seconds_to_start() > 0 then
    return refuse('Rate', seconds_to_start())
  end
end

local function take_of_limits()
  if limit.cost > 0 then
    redis.call('HSET', limits_key, 'used', exactly(limit.used + limit.cost))
  end
  if limit.concurrent > 0 then
    note_replica(A.pool, A.replica, 'NX') -- whoever counts the pool's claims must find this one
  end
  if limit.rate > 0 then
    redis.call('LPUSH', starts_key, decimal(NOW))
    redis.call('LTRIM', starts_key, 0, limit.rate - 1)
    redis.call('EXPIRE', starts_key, 2 * RATE_WINDOW_SECONDS)
  end
end

-- --- jobs -----------------------------------------------------------------------------------------------------------

local function take(job, queue, loss)
  local alone = loss.losses > 0 and not loss.exhausted
  local job_key, worker_key = key('job', job), key('worker', A.worker)
  -- our own keys first: if memory is full, this is what fails, before anything has moved
  redis.call('HSET', key('pp', 'owner', job), 'execution', A.execution_id, 'replica', A.replica, 'pool', A.pool,
    'queue', queue, 'worker', A.worker, 'claimed_at', decimal(NOW), 'alone', alone and 1 or 0,
    'losses', loss.losses, 'strikes', loss.strikes, 'exhausted', loss.exhausted and 1 or 0)
  redis.call('SADD', claims_key, job)
  if not loss.exhausted then
    take_of_limits()
  end
  -- what RQ's prepare_execution and prepare_job_execution leave
  list_execution(job, owner_of(job), A.lease_seconds)
  if redis.call('EXISTS', worker_key) == 1 then
    redis.call('HSET', worker_key, 'state', 'busy')
  end
  local at = iso_now()
  redis.call('HSET', job_key, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', A.worker,
    'origin', queue)
  redis.call('HDEL', job_key, 'pp_losses', 'pp_strikes', 'pp_exhausted', 'pp_reserved_by')
  redis.call('PERSIST', job_key)
  redis.call('LREM', key('queue', queue), 1, job)
  redis.call('DEL', reserved_key)
  redis.call('EXPIRE', key('pp', 'incarnation', A.replica), INCARNATION_KEPT_SECONDS)
  return reply(job, queue, loss.losses, alone, loss.exhausted)
end

-- "take", "drop" (no job, or a copy of one that is elsewhere) or "pass" (somebody must look at it)
local function judge(job, queue)
  local job_key = key('job', job)
  if not fits(job_key, 'hash') then
    return 'pass'
  end
  -- RQ refuses to load any other id; a colon would break its composite keys
  if not string.match(job, '^[%w_-]+$') or not job_exists(job) then
    return 'drop'
  end
  if not fits(key('executions', job), 'zset') or not fits(key('pp', 'owner', job), 'hash') then
    return 'pass'
  end
  local owner = owner_of(job)
  if owner and stands(job, owner) or elsewhere(job, queue, owner and owner.execution) then
    return 'drop'
  end
  if owner then -- the job was enqueued anew while it ran, perhaps after it was cancelled: the new run counts
    forget(job, owner)
  end
  return 'take'
end

for name, wanted in pairs({
  [claims_key] = 'set', [key('worker', A.worker, 'executions')] = 'set', [key('worker', A.worker)] = 'hash',
  [limits_key] = 'hash', [starts_key] = 'list', [replicas_key] = 'zset',
}) do
  if not fits(name, wanted) then
    return wrong_type(name, wanted)
  end
end

-- --- who asks -----------------------------------------------------------------------------------------------------

local incarnation_key = key('pp', 'incarnation', A.replica)
local registered = redis.call('GET', incarnation_key)
if registered and registered ~= A.incarnation then
  return refuse('Stale')
end
local busy_alone = false
for _, job in ipairs(redis.call('SMEMBERS', claims_key)) do
  local owner = owner_of(job)
  if owner and owner.replica == A.replica then
    if owner.execution == A.execution_id then
      return reply(job, owner.queue, tonumber(owner.losses), owner.alone == '1', owner.exhausted == '1')
    end
    busy_alone = busy_alone or owner.alone == '1'
    held = held + 1
  else -- a claim that is none would keep the replica from ever being empty
    redis.call('SREM', claims_key, job)
  end
end
if redis.call('EXISTS', key('pp', 'drain', A.replica)) == 1 then
  return refuse('Drained')
end
if not registered then -- Redis forgot: nobody else has registered since
  redis.call('SET', incarnation_key, A.incarnation, 'EX', INCARNATION_KEPT_SECONDS)
end
if busy_alone then
  return refuse('Reserved')
end

-- --- a job it has set itself aside for -----------------------------------------------------------------------------

local reserved = redis.call('GET', reserved_key)
if reserved then
  local mine = fits(key('job', reserved), 'hash') and loss_of(reserved).reserved_by == A.replica
    and redis.call('HGET', key('job', reserved), 'status') == 'queued'
  if mine and held > 0 then
    redis.call('EXPIRE', reserved_key, lease_ttl)
    return refuse('Reserved')
  end
  if mine then
    for _, queue in ipairs(A.queues) do
      if usable(queue) and redis.call('LPOS', key('queue', queue), reserved) and judge(reserved, queue) == 'take' then
        local loss = loss_of(reserved)
        return not loss.exhausted and limited() or take(reserved, queue, loss)
      end
    end
  end
  redis.call('DEL', reserved_key) -- it is gone, or another replica had room for it
end

-- --- the queues ------------------------------------------------------------------------------------------------------

for _, queue in ipairs(A.queues) do
  local queue_key = key('queue', queue)
  local place = 0
  local job = usable(queue) and redis.call('LINDEX', queue_key, place)
  while job and place <= LOOK_PAST and dropped < DROP_AT_MOST do
    local verdict = judge(job, queue)
    if verdict == 'drop' then
      redis.call('LREM', queue_key, 1, job)
      dropped = dropped + 1
    elseif verdict == 'pass' then
      place = place + 1
    else
      local loss = loss_of(job)
      local refused = not loss.exhausted and limited()
      if refused then
        return refused
      end
      if loss.losses == 0 or loss.exhausted or held == 0 then
        return take(job, queue, loss)
      end
      if not loss.reserved_by or redis.call('GET', key('pp', 'reserved', loss.reserved_by)) ~= job then
        redis.call('SET', reserved_key, job, 'EX', lease_ttl)
        redis.call('HSET', key('job', job), 'pp_reserved_by', A.replica)
        return refuse('Reserved')
      end
      place = place + 1
    end
    job = redis.call('LINDEX', queue_key, place)
  end
end
return refuse('Empty')
