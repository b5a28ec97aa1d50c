-- ready: enqueue jobs whose dependencies are met and whose worker died before it enqueued them.
--
-- Guarantee: each job leaves `ready` and enters its queue (or its rate limit's waiting room) in one step, so any number
-- of callers, and RQ itself, beside each other move it once. The keys are left as RQ's maintenance leaves them. Entries
-- without a job, or of a job in another state, are dropped. A queue whose keys are of the wrong type is left alone.
--
-- Arguments: prefix, queues, limit (of all queues together). Reply: how many jobs moved.

local moved = 0
for _, queue in ipairs(A.queues) do
  local waiting = key('ready', queue)
  if moved < A.limit and fits(waiting, 'zset') then
    for _, job in ipairs(redis.call('ZRANGE', waiting, 0, A.limit - moved - 1)) do
      if fits(key('job', job), 'hash') then
        if not job_exists(job) or redis.call('HGET', key('job', job), 'status') ~= 'ready_to_enqueue' then
          redis.call('ZREM', waiting, job)
        elseif enqueueable(job, queue) then
          enqueue_as_rq(job, queue, false)
          redis.call('ZREM', waiting, job)
          moved = moved + 1
        end
      end
    end
  end
end
return cjson.encode(moved)
