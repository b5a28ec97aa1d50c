-- release: hand a running job back, in good order.
--
-- Guarantee: only the claim of this execution is ended; its job stands at the head of its queue again, status `queued`,
-- with no retry used and no loss counted. A job that was cancelled, deleted or enqueued anew is not put back.
--
-- Arguments: prefix, queue, job_id, execution_id. Reply: true if it was put back, else false.

local job = A.job_id
local owner = owner_of(job)
if not owner or owner.execution ~= A.execution_id then
  return 'false'
end
if not fits(key('queue', owner.queue), 'list') then
  return wrong_type(key('queue', owner.queue), 'list')
end
if not stands(job, owner) then
  forget(job, owner)
  return 'false'
end
give_back(job, owner, tonumber(owner.losses), tonumber(owner.strikes), owner.exhausted == '1')
return 'true'
