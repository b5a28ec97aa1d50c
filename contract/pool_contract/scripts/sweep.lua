-- sweep: mend what dead processes left behind.
--
-- Guarantee: nothing that a living process holds is touched, and the keys are left as RQ's own maintenance leaves them,
-- with one exception: an id that a foreign worker popped and never started goes back to the head of its queue, with no
-- retry used, where RQ would fail it. It also forgets what is ours and belongs to nobody any more: replicas that went
-- silent, size hints of jobs that have ended. Large sets are done a sample at a time; repeated calls come round to all.
--
-- Arguments: prefix, queues, intermediate_grace_seconds.
-- Reply: {intermediate = [ids], rate_limit_slots, workers, groups, dependents}: what was mended.

local SAMPLE = 200
local GROUPS_SAMPLE = 50 -- each with a sample of its jobs
local FIRST_SEEN_SECONDS = 86400 -- as RQ's stamp, so that either may have set it
local GROUPS_EVERY_SECONDS = 599 -- as RQ's lock, one below its maintenance interval

-- --- ids that a foreign worker popped -------------------------------------------------------------------------------

local returned = {}

local function sweep_intermediate(queue)
  local queue_key, popped = key('queue', queue), key('queue', queue, 'intermediate')
  if not fits(popped, 'list') or not fits(queue_key, 'list') then
    return
  end
  for _, job in ipairs(redis.call('LRANGE', popped, 0, SAMPLE - 1)) do
    local stamp = popped .. ':first_seen:' .. job
    local owner = owner_of(job)
    if not fits(key('job', job), 'hash') or executing(job, queue) then
      -- somebody must look at it, or somebody works on it
    elseif not job_exists(job) or elsewhere(job, queue) or owner and stands(job, owner) then
      redis.call('LREM', popped, 1, job)
      redis.call('DEL', stamp)
    elseif not redis.call('SET', stamp, decimal(NOW), 'NX', 'EX', FIRST_SEEN_SECONDS) then
      local seen = tonumber(redis.call('GET', stamp))
      if not seen or NOW - seen > A.intermediate_grace_seconds then
        redis.call('HSET', key('job', job), 'status', 'queued')
        redis.call('LREM', popped, 1, job)
        redis.call('DEL', stamp)
        if not redis.call('LPOS', queue_key, job) then
          redis.call('LPUSH', queue_key, job)
        end
        returned[#returned + 1] = job
      end
    end
  end
end

-- --- rate limits --------------------------------------------------------------------------------------------------

local HOLDS_SLOT = {queued = true, started = true}

local function sweep_limit(limit_key)
  local allowed, waiting, config = key('rl', limit_key, 'allowed'), key('rl', limit_key, 'rate_limited'), key('rl', limit_key)
  if not (fits(allowed, 'zset') and fits(waiting, 'zset') and fits(config, 'hash')) then
    return 0
  end
  local freed = 0
  for _, job in ipairs(redis.call('ZRANGE', allowed, 0, -1)) do
    local status = fits(key('job', job), 'hash') and redis.call('HGET', key('job', job), 'status')
    local executions = key('executions', job)
    -- a job that was cancelled or deleted while it runs holds its slot until its execution ends
    local runs = fits(executions, 'zset') and redis.call('ZCOUNT', executions, '(' .. SECOND, '+inf') > 0
    if not HOLDS_SLOT[status] and not runs then
      freed = freed + redis.call('ZREM', allowed, job)
    end
  end
  local concurrency = tonumber(redis.call('HGET', config, 'concurrency') or nil)
  if concurrency and promote(limit_key, concurrency) > 0 then
    return freed
  end
  if redis.call('ZCARD', allowed) == 0 and redis.call('ZCARD', waiting) == 0 then
    redis.call('SREM', key('rl-keys'), limit_key)
    redis.call('DEL', allowed, waiting, config)
  end
  return freed
end

local function sweep_limits()
  local freed = 0
  if fits(key('rl-keys'), 'set') then
    for _, limit_key in ipairs(redis.call('SRANDMEMBER', key('rl-keys'), SAMPLE)) do
      freed = freed + sweep_limit(limit_key)
    end
  end
  return freed
end

-- --- workers and groups -------------------------------------------------------------------------------------------

local function sweep_workers(queue)
  local of_queue, all = key('workers', queue), key('workers')
  local gone = 0
  if fits(of_queue, 'set') and fits(all, 'set') then
    for _, worker_key in ipairs(redis.call('SMEMBERS', of_queue)) do
      if redis.call('EXISTS', worker_key) == 0 then
        redis.call('SREM', of_queue, worker_key)
        redis.call('SREM', all, worker_key)
        gone = gone + 1
      end
    end
  end
  return gone
end

local function sweep_groups()
  local all = key('groups')
  if not fits(all, 'set') or redis.call('EXISTS', all) == 0
    or not redis.call('SET', key('clean_groups'), 1, 'NX', 'EX', GROUPS_EVERY_SECONDS) then
    return 0
  end
  local gone = 0
  for _, group in ipairs(redis.call('SRANDMEMBER', all, GROUPS_SAMPLE)) do
    local group_key = key('group', group)
    if fits(group_key, 'set') then
      for _, job in ipairs(redis.call('SRANDMEMBER', group_key, SAMPLE)) do
        if redis.call('EXISTS', key('job', job)) == 0 then
          redis.call('SREM', group_key, job)
        end
      end
      if redis.call('EXISTS', group_key) == 0 then
        redis.call('SREM', all, group)
        gone = gone + 1
      end
    end
  end
  return gone
end

-- --- dependents ---------------------------------------------------------------------------------------------------

-- RQ enqueues the dependents of a failed job after its transaction: a worker that dies in between leaves them deferred
-- for ever. A deferred job is let go as RQ would have done then: every dependency it can still see allows it, one has ended.
local function let_go(job)
  local job_key, dependencies = key('job', job), key('job', '', job, 'dependencies')
  if not fits(dependencies, 'set') then
    return nil
  end
  local it = fields(job_key, 'status', 'allow_dependency_failures')
  if it.status ~= 'deferred' then
    return nil
  end
  local parents, ended = redis.call('SMEMBERS', dependencies), 0
  for _, parent in ipairs(parents) do
    local status = fits(key('job', parent), 'hash') and redis.call('HGET', key('job', parent), 'status')
    if status == 'finished' or (status == 'failed' and it.allow_dependency_failures == '1') then
      ended = ended + 1
    elseif status then
      return nil
    end
  end
  return ended > 0 and parents or nil
end

local function sweep_dependents(queue)
  local deferred, ready_key = key('deferred', queue), key('ready', queue)
  local freed = 0
  if fits(deferred, 'zset') and fits(ready_key, 'zset') and redis.call('EXISTS', deferred) == 1 then
    for _, job in ipairs(redis.call('ZRANDMEMBER', deferred, SAMPLE)) do
      local parents = job_exists(job) and let_go(job)
      if parents then
        redis.call('ZREM', deferred, job)
        redis.call('HSET', key('job', job), 'status', 'ready_to_enqueue')
        redis.call('ZADD', ready_key, SECOND, job)
        for _, parent in ipairs(parents) do
          if fits(key('job', parent, 'dependents'), 'set') then
            redis.call('SREM', key('job', parent, 'dependents'), job)
          end
        end
        freed = freed + 1
      end
    end
  end
  return freed
end

-- --- ours ---------------------------------------------------------------------------------------------------------

local function sweep_replicas()
  if fits(key('pp', 'pools'), 'hash') then
    for _, pool in ipairs(redis.call('HKEYS', key('pp', 'pools'))) do
      forget_replicas(pool, NOW - SILENT_SECONDS, PRUNED_AT_MOST)
    end
  end
end

local ENDED = {finished = true, failed = true, stopped = true, canceled = true}

local function sweep_hints()
  local hints = key('pp', 'hints')
  if kind(hints) == 'hash' then
    for _, job in ipairs(redis.call('HRANDFIELD', hints, SAMPLE)) do
      -- a run of ours takes its hint along; a foreign worker's, and a cancelled job's, are left for us
      if not job_exists(job) or ENDED[redis.call('HGET', key('job', job), 'status')] then
        redis.call('HDEL', hints, job)
      end
    end
  end
end

local workers, dependents = 0, 0
for _, queue in ipairs(A.queues) do
  sweep_intermediate(queue)
  workers = workers + sweep_workers(queue)
  dependents = dependents + sweep_dependents(queue)
end
local slots, groups = sweep_limits(), sweep_groups()
sweep_replicas()
sweep_hints()
return cjson.encode({
  intermediate = returned, rate_limit_slots = slots, workers = workers, groups = groups, dependents = dependents,
})
