-- Prepended to every script: arguments, time, keys, and the few moves that several scripts share.
--
-- Every script takes one JSON object as ARGV[1] and answers JSON. Keys are built here, from the prefix, because most of
-- them depend on what is read: a single Redis node (or a proxy that looks like one) is a condition of the product.
-- Names are those of pool_contract/keys.py; tests compare both with the installed rq.
-- Redis runs a script alone and does not roll it back: whatever may fail is looked at before the first write.

local A = cjson.decode(ARGV[1])
local P = A.prefix
local TIME = redis.call('TIME')
local SECOND = tonumber(TIME[1])
local NOW = SECOND + tonumber(TIME[2]) / 1000000

local WIP_MARGIN_SECONDS = 86400 -- RQ's own cleaners act on wip scores and know no fence: they must never come first
local COPIES_WITHIN = 1000
local RUNS_KEPT = 2000 -- as the worker keeps them
local RUNS_KEPT_SECONDS = 30 * 86400
local DEFAULT_TIMEOUT_SECONDS = 180 -- rq.Queue.DEFAULT_TIMEOUT

local function key(...)
  return P .. ':' .. table.concat({...}, ':')
end

-- tostring() and cjson keep 14 digits, too few for microseconds
local function decimal(number)
  return string.format('%.6f', number)
end

-- A number that reads back as the same one
local function exactly(number)
  return string.format('%.17g', number)
end

-- RQ's date format
local function iso_now()
  local days = math.floor(SECOND / 86400)
  local clock = SECOND % 86400
  local year = 1970
  local function leap(y)
    return (y % 4 == 0 and y % 100 ~= 0) or y % 400 == 0
  end
  while days >= (leap(year) and 366 or 365) do
    days = days - (leap(year) and 366 or 365)
    year = year + 1
  end
  local lengths = {31, leap(year) and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
  local month = 1
  while days >= lengths[month] do
    days = days - lengths[month]
    month = month + 1
  end
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, days + 1,
    math.floor(clock / 3600), math.floor(clock / 60) % 60, clock % 60, tonumber(TIME[2]))
end

local function kind(name)
  return redis.call('TYPE', name).ok
end

-- true if the key may be used as this type
local function fits(name, wanted)
  local found = kind(name)
  return found == wanted or found == 'none'
end

local function wrong_type(name, wanted)
  return redis.error_reply('WRONGTYPE ' .. name .. ' holds a ' .. kind(name) .. ', not a ' .. wanted)
end

local function filled(value)
  return value and value ~= ''
end

-- HMGET as a table by field
local function fields(name, ...)
  local names, found = {...}, {}
  local values = redis.call('HMGET', name, ...)
  for i, field in ipairs(names) do
    found[field] = values[i] or nil
  end
  return found
end

-- --- jobs -------------------------------------------------------------------------------------------------------

-- RQ cannot load a hash without `data`: such a rest is no job
local function job_exists(job)
  local name = key('job', job)
  return kind(name) == 'hash' and redis.call('HEXISTS', name, 'data') == 1
end

-- true if an execution of the job, other than `except`, is in the wip registry of its queue
local function executing(job, queue, except)
  local executions, wip = key('executions', job), key('wip', queue)
  if not fits(executions, 'zset') or not fits(wip, 'zset') then
    return false
  end
  for _, execution in ipairs(redis.call('ZRANGE', executions, 0, -1)) do
    if execution ~= except and redis.call('ZSCORE', wip, job .. ':' .. execution) then
      return true
    end
  end
  return false
end

local function holds(name, member)
  return fits(name, 'zset') and redis.call('ZSCORE', name, member) and true or false
end

local ENDED = {finished = true, failed = true, stopped = true, canceled = true}

-- Does the job stand somewhere else than in a queue list or in the claim of `execution`? A status alone proves nothing
-- where RQ writes it outside of its transactions (a retry is marked `scheduled` before it is scheduled): then the place
-- is looked at.
local function elsewhere(job, queue, execution)
  local it = fields(key('job', job), 'status', 'origin', 'rate_limit_key')
  local status, origin = it.status, filled(it.origin) and it.origin or queue
  if ENDED[status] then
    return true
  elseif status == 'scheduled' then
    return holds(key('scheduled', origin), job)
  elseif status == 'deferred' then
    return holds(key('deferred', origin), job)
  elseif status == 'ready_to_enqueue' then
    return holds(key('ready', origin), job)
  elseif status == 'rate_limited' then
    return filled(it.rate_limit_key) and holds(key('rl', it.rate_limit_key, 'rate_limited'), job)
  elseif status == 'started' then
    return executing(job, origin, execution)
  end
  return false
end

-- --- claims -----------------------------------------------------------------------------------------------------

-- The claim on a job, or nil
local function owner_of(job)
  local name = key('pp', 'owner', job)
  if kind(name) ~= 'hash' then
    return nil
  end
  return fields(name, 'execution', 'replica', 'pool', 'queue', 'worker', 'claimed_at', 'alone', 'losses', 'strikes',
    'exhausted')
end

-- Seconds of media given at submission, or 0. JSON knows no infinity, and anybody may have written there.
local function hint_of(job)
  local text = redis.pcall('HGET', key('pp', 'hints'), job)
  local seconds = type(text) == 'string' and tonumber(text) or 0
  return seconds > 0 and seconds < math.huge and seconds or 0
end

-- true if the id is in the queue's list, or a foreign worker has just popped it
local function waits(job, queue)
  for _, name in ipairs({key('queue', queue), key('queue', queue, 'intermediate')}) do
    if fits(name, 'list') and redis.call('LPOS', name, job) then
      return true
    end
  end
  return false
end

-- Does the claim still stand for the job? Not if the job was cancelled or deleted, nor if somebody enqueued the same id
-- anew. A missing wip entry alone is no proof: the fence is ours.
local function stands(job, owner)
  if not job_exists(job) then
    return false
  end
  local it = fields(key('job', job), 'status', 'origin')
  if it.status == 'started' then
    local wip = key('wip', owner.queue)
    return holds(wip, job .. ':' .. owner.execution) or not executing(job, owner.queue, owner.execution)
  elseif it.status == 'queued' then
    return not waits(job, owner.queue) and not (filled(it.origin) and waits(job, it.origin))
  end
  return not elsewhere(job, owner.queue, owner.execution)
end

-- Take a claim away, with every trace of its run (what RQ calls cleaning up the execution). A key of the wrong type must
-- not stop it half-way.
local function forget(job, owner)
  local member = job .. ':' .. owner.execution
  redis.call('DEL', key('pp', 'owner', job), key('execution', member))
  redis.pcall('ZREM', key('pp', 'leases', owner.queue), job)
  redis.pcall('SREM', key('pp', 'claims', owner.replica), job)
  redis.pcall('ZREM', key('wip', owner.queue), member)
  redis.pcall('ZREM', key('executions', job), owner.execution)
  redis.pcall('SREM', key('worker', owner.worker, 'executions'), member)
end

-- A job's own time to live starts anew whenever RQ enqueues it. One that RQ could not read is none: an error here would
-- come after the first write.
local function expire_as_rq(job)
  local text = redis.call('HGET', key('job', job), 'ttl')
  local ttl = text and string.match(text, '^%d+$') and #text <= 10 and tonumber(text)
  if ttl and ttl > 0 then
    redis.call('EXPIRE', key('job', job), ttl)
    redis.call('EXPIRE', key('job', job, 'dependents'), ttl)
    redis.call('EXPIRE', key('job', '', job, 'dependencies'), ttl)
  end
end

-- What RQ's prepare_execution leaves, and its heartbeat moves. The execution outlives the lease a little, because RQ's
-- cancel() fails on an execution that is listed and gone; the wip entry outlives it by far, see WIP_MARGIN_SECONDS. A key
-- of the wrong type is left out: one queue's trouble must not end the claims on others.
local function list_execution(job, owner, lease_seconds)
  local member, ttl = job .. ':' .. owner.execution, math.ceil(lease_seconds) + 60
  local execution, executions, running =
    key('execution', member), key('executions', job), key('worker', owner.worker, 'executions')
  redis.pcall('ZADD', key('pp', 'leases', owner.queue), decimal(NOW + lease_seconds), job)
  redis.pcall('HSET', execution, 'id', owner.execution, 'job_id', job, 'created_at', owner.claimed_at,
    'last_heartbeat', decimal(NOW), 'worker_name', owner.worker)
  redis.call('EXPIRE', execution, ttl)
  redis.pcall('ZADD', executions, SECOND + ttl, owner.execution)
  redis.call('EXPIRE', executions, ttl)
  redis.pcall('ZADD', key('wip', owner.queue), decimal(NOW + lease_seconds + WIP_MARGIN_SECONDS), member)
  redis.pcall('SADD', running, member)
  redis.call('EXPIRE', running, ttl)
end

-- Give a claimed job back to the head of its queue. What it has lost so far travels in its hash (fields pp_*) while it
-- waits, and in its claim while it runs: whatever else ends the run forgets it.
local function give_back(job, owner, losses, strikes, exhausted)
  forget(job, owner)
  local name = key('job', job)
  redis.call('HSET', name, 'status', 'queued', 'enqueued_at', iso_now(), 'started_at', '', 'worker_name', '')
  if losses > 0 or exhausted then
    redis.call('HSET', name, 'pp_losses', losses, 'pp_strikes', strikes, 'pp_exhausted', exhausted and 1 or 0)
  end
  expire_as_rq(job)
  -- A copy may stand there. It is not looked for in all of a long list, many times in one script: a claim that meets one
  -- that is far behind drops it.
  local popped = key('queue', owner.queue, 'intermediate')
  if not redis.call('LPOS', key('queue', owner.queue), job, 'MAXLEN', COPIES_WITHIN)
    and not (fits(popped, 'list') and redis.call('LPOS', popped, job)) then
    redis.call('LPUSH', key('queue', owner.queue), job)
  end
end

-- Tell the pool that a run was lost. It comes behind the first write, and a stream that cannot be written must not keep
-- the job from going back.
local function record_loss(job, owner)
  if not filled(owner.pool) then
    return
  end
  local runs = key('pp', 'runs', owner.pool)
  local run = cjson.encode({
    job = job, queue = owner.queue, replica = owner.replica, outcome = 'Lost', hint = hint_of(job),
    seconds = math.max(0, NOW - (tonumber(owner.claimed_at) or NOW)),
  })
  redis.pcall('XADD', runs, 'MAXLEN', '~', RUNS_KEPT, '*', 'run', run)
  redis.call('EXPIRE', runs, RUNS_KEPT_SECONDS)
end

-- End a claim whose holder is gone, as a loss. nil: the claim stood for nothing any more.
local function lose(job, owner, max_losses, excused)
  if not stands(job, owner) then
    forget(job, owner)
    return nil
  end
  local losses = tonumber(owner.losses or 0) + 1
  local strikes = tonumber(owner.strikes or 0)
  if owner.alone == '1' and not excused then
    strikes = strikes + 1
  end
  local exhausted = owner.exhausted == '1' or strikes > max_losses
  give_back(job, owner, losses, strikes, exhausted)
  if not excused then -- an eviction says nothing of the job
    record_loss(job, owner)
  end
  return {job_id = job, queue = owner.queue, replica = owner.replica, losses = losses, exhausted = exhausted}
end

-- --- replicas -----------------------------------------------------------------------------------------------------

local SILENT_SECONDS = 3600
local MARK_KEPT_SECONDS = 30 * 86400
local INCARNATION_KEPT_SECONDS = 86400
local REPLICAS_KEPT_SECONDS = 7 * 86400
local PRUNED_AT_MOST = 200

-- Put a replica on its pool's list, now (mode CH) or unless it is there already (mode NX); the list of a pool that nobody hears of any more ends by itself.
local function note_replica(pool, replica, mode)
  local replicas = key('pp', 'replicas', pool)
  redis.call('ZADD', replicas, mode, decimal(NOW), replica)
  redis.call('EXPIRE', replicas, REPLICAS_KEPT_SECONDS)
end

-- Forget replicas of a pool, `at_most` so many (-1: all), that were last heard of before `before` and hold nothing. Their drain marks outlive them by
-- far: if one should live after all, it must not take a job that its leader knows it cannot take.
local function forget_replicas(pool, before, at_most)
  local replicas = key('pp', 'replicas', pool)
  if not fits(replicas, 'zset') then
    return
  end
  for _, replica in ipairs(redis.call('ZRANGEBYSCORE', replicas, '-inf', decimal(before), 'LIMIT', 0, at_most)) do
    if redis.call('EXISTS', key('pp', 'claims', replica)) == 0 then
      redis.call('DEL', key('pp', 'replica', replica), key('pp', 'incarnation', replica), key('pp', 'reserved', replica))
      redis.call('EXPIRE', key('pp', 'drain', replica), MARK_KEPT_SECONDS)
      redis.call('ZREM', replicas, replica)
    end
  end
end

-- --- leaders ----------------------------------------------------------------------------------------------------

-- Refuse a leader when a newer one has acted for this pool. Epochs are decimal strings: no rounding.
local function fence(pool, epoch)
  local name = key('pp', 'epoch', pool)
  local known = redis.call('GET', name)
  if known and (#known > #epoch or (#known == #epoch and known > epoch)) then
    return redis.error_reply('STALEEPOCH pool ' .. pool .. ' is led by epoch ' .. known .. ', not ' .. epoch)
  end
  redis.call('SET', name, epoch)
  return nil
end
