-- Prepended to due, ready and sweep: jobs into their queues as RQ's Queue would put them there, limiter included.

-- Give free slots of a rate limit to jobs that wait for one, oldest first (RQ: acquire_and_enqueue). Returns how many.
-- A job whose queue cannot be written keeps its place, and those behind it theirs, until the key is mended.
local function promote(limit_key, concurrency)
  local allowed, waiting = key('rl', limit_key, 'allowed'), key('rl', limit_key, 'rate_limited')
  local promoted = 0
  while redis.call('ZCARD', allowed) < concurrency do
    local job = redis.call('ZRANGE', waiting, 0, 0)[1]
    if not job then
      break
    end
    local it = kind(key('job', job)) == 'hash' and fields(key('job', job), 'origin', 'status', 'enqueue_at_front') or {}
    local is_real = it.origin and it.status == 'rate_limited' -- else a stale entry
    if is_real and not fits(key('queue', it.origin), 'list') then
      break
    end
    redis.call('ZREM', waiting, job)
    if is_real then
      redis.call('ZADD', allowed, SECOND, job)
      redis.call(it.enqueue_at_front == '1' and 'LPUSH' or 'RPUSH', key('queue', it.origin), job)
      redis.call('HSET', key('job', job), 'status', 'queued', 'enqueued_at', iso_now())
      promoted = promoted + 1
    end
  end
  return promoted
end

local function wait_for_slot(job, it, front)
  local limit_key, concurrency = it.rate_limit_key, tonumber(it.rate_limit_concurrency)
  local job_key = key('job', job)
  redis.call('SADD', key('rl-keys'), limit_key)
  redis.call('HSET', key('rl', limit_key), 'concurrency', concurrency)
  redis.call('HSET', job_key, 'status', 'rate_limited')
  if front then
    redis.call('HSET', job_key, 'enqueue_at_front', 1)
  end
  redis.call('ZADD', key('rl', limit_key, 'rate_limited'), SECOND, job)
  promote(limit_key, concurrency)
end

-- Enqueue a job that left a registry. `keeps_front`: a job that must wait for a slot of its rate limit remembers that it
-- goes to the front (RQ's scheduler does that, its ready registry does not).
local function enqueue_as_rq(job, queue, keeps_front)
  local job_key = key('job', job)
  local it = fields(job_key, 'status', 'timeout', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'ended_at',
    'rate_limit_key', 'rate_limit_concurrency')
  local front = it.enqueue_at_front == '1' or (it.enqueue_at_front_on_retry == '1' and filled(it.ended_at))
  redis.call('HSET', job_key, 'origin', queue)
  if not filled(it.timeout) then
    redis.call('HSET', job_key, 'timeout', DEFAULT_TIMEOUT_SECONDS)
  end
  expire_as_rq(job)
  if filled(it.rate_limit_key) and (tonumber(it.rate_limit_concurrency) or 0) > 0 then
    wait_for_slot(job, it, front and keeps_front)
    return
  end
  if it.status == 'deferred' then
    redis.call('ZREM', key('deferred', queue), job)
  end
  redis.call('HSET', job_key, 'status', 'queued', 'enqueued_at', iso_now())
  redis.call(front and 'LPUSH' or 'RPUSH', key('queue', queue), job)
end

-- Can everything that enqueueing this job writes be written? Looked at before the first write: nothing is rolled back.
local function enqueueable(job, queue)
  local limit_key = redis.call('HGET', key('job', job), 'rate_limit_key')
  if filled(limit_key) then
    if not (fits(key('rl-keys'), 'set') and fits(key('rl', limit_key), 'hash')
      and fits(key('rl', limit_key, 'allowed'), 'zset') and fits(key('rl', limit_key, 'rate_limited'), 'zset')) then
      return false
    end
  end
  return fits(key('queue', queue), 'list') and fits(key('deferred', queue), 'zset')
end
