-- due: move scheduled jobs whose time has come to their queues.
--
-- Guarantee: each job leaves `scheduled` and enters its queue (or its rate limit's waiting room) in one step, so any
-- number of callers beside each other move it once. The keys are left as RQ's scheduler leaves them. Entries without a
-- job are dropped. A queue whose keys are of the wrong type is left alone.
--
-- Arguments: prefix, queues, limit (of all queues together). Reply: how many jobs moved.

local moved = 0
for _, queue in ipairs(A.queues) do
  local scheduled = key('scheduled', queue)
  if moved < A.limit and fits(scheduled, 'zset') then
    for _, job in ipairs(redis.call('ZRANGEBYSCORE', scheduled, 0, SECOND, 'LIMIT', 0, A.limit - moved)) do
      if fits(key('job', job), 'hash') then
        if not job_exists(job) then
          redis.call('ZREM', scheduled, job)
        elseif enqueueable(job, queue) then
          enqueue_as_rq(job, queue, true)
          redis.call('ZREM', scheduled, job)
          moved = moved + 1
        end
      end
    end
  end
end
return cjson.encode(moved)
