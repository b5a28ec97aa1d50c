-- read: see all queues and replicas of an endpoint at one instant.
--
-- Guarantee: writes nothing and works on a read-only replica. A key of the wrong type is told as its queue's problem; the
-- other queues are read. What cannot be read of a replica counts as a claim: unknown is not zero.
--
-- Arguments: prefix, queues, pools (UIDs), lookahead_seconds, runs_after (per pool: first id of its stream of ended runs
-- to read, "" for the last ones there are), runs_at_most (of a pool; of all together, twice as many).
-- Reply: {at, uptime, role, queues: [row, ...], pools: [{published, used, runs: [[id, text], ...], more, replicas: [row,
-- ...]}, ...]}, in the order asked for; see replies.py for the rows. `more`: there may be runs behind these.

local HINTED_AT_MOST = 100 -- first waiting jobs of a queue whose size hints are added up
local UPCOMING_AT_MOST = 64
local RUN_BYTES_AT_MOST = 4096 -- what is longer is no run's

local hints = key('pp', 'hints')
local hinted = kind(hints) == 'hash'

-- --- queues -------------------------------------------------------------------------------------------------------

local function enqueued_at(job)
  local at = job and redis.pcall('HGET', P .. ':job:' .. job, 'enqueued_at')
  return type(at) == 'string' and at or ''
end

-- How many of the first waiting jobs have a size hint, and their sum
local function hints_of(queue_key, waiting)
  local count, sum = 0, 0
  if hinted and waiting > 0 then
    local ids = redis.call('LRANGE', queue_key, 0, HINTED_AT_MOST - 1)
    for _, text in ipairs(redis.call('HMGET', hints, unpack(ids))) do
      local seconds = text and tonumber(text) or 0
      if seconds > 0 and seconds < math.huge then -- JSON has no other numbers: one hint must not spoil the reading of all
        count, sum = count + 1, sum + seconds
      end
    end
  end
  return count, sum
end

-- When the next scheduled jobs are due, soonest first
local function upcoming_of(scheduled)
  local found, times =
    redis.call('ZRANGEBYSCORE', scheduled, '(' .. decimal(NOW), '+inf', 'WITHSCORES', 'LIMIT', 0, UPCOMING_AT_MOST), {}
  for i = 2, #found, 2 do
    times[#times + 1] = found[i]
  end
  return times
end

-- The keys of a queue: middle of the name, end of the name, type. The most frequent come first: as soon as all keys that
-- exist were met, the rest is empty.
local PARTS = {
  {'queue:', '', 'list'}, {'pp:leases:', '', 'zset'}, {'wip:', '', 'zset'}, {'failed:', '', 'zset'},
  {'scheduled:', '', 'zset'}, {'deferred:', '', 'zset'}, {'ready:', '', 'zset'}, {'queue:', ':intermediate', 'list'},
}

local function problem_of(names)
  for i, part in ipairs(PARTS) do
    if not fits(names[i], part[3]) then
      local wanted = part[3] == 'zset' and 'sorted set' or part[3]
      return names[i] .. ' holds a ' .. kind(names[i]) .. ', not a ' .. wanted
    end
  end
  return ''
end

local function size(command, name)
  local found = redis.pcall(command, name)
  return type(found) == 'number' and found or nil
end

-- Sizes in the order of PARTS, or nil and a problem
local function sizes_of(names, left)
  local sizes = {0, 0, 0, 0, 0, 0, 0, 0}
  for i, part in ipairs(PARTS) do
    if left == 0 then
      break
    end
    sizes[i] = size(part[3] == 'list' and 'LLEN' or 'ZCARD', names[i])
    if not sizes[i] then
      return nil, problem_of(names)
    elseif sizes[i] > 0 then
      left = left - 1
    end
  end
  return sizes
end

local function row_of(queue)
  local names = {}
  for i, part in ipairs(PARTS) do
    names[i] = P .. ':' .. part[1] .. queue .. part[2]
  end
  local left = redis.call('EXISTS', unpack(names))
  if left == 0 then
    return {0}
  end
  local sizes, problem = sizes_of(names, left)
  if not sizes then
    return {-1, problem}
  end
  local waiting, leases, wip, failed, scheduled, deferred, ready, intermediate = unpack(sizes)
  local expired = leases > 0 and redis.call('ZCOUNT', names[2], '-inf', '(' .. decimal(NOW)) or 0
  -- every claim of ours has a live entry in wip; what is more is foreign, or dead
  local foreign = wip > leases and math.max(0, redis.call('ZCOUNT', names[3], decimal(NOW), '+inf') - leases) or 0
  local due, upcoming = ready, {}
  if scheduled > 0 then
    due = due + redis.call('ZCOUNT', names[5], '-inf', decimal(NOW + A.lookahead_seconds))
    upcoming = upcoming_of(names[5])
  end
  local hinted_jobs, hinted_seconds = hints_of(names[1], waiting)
  return {
    waiting, intermediate, leases - expired, expired, foreign, scheduled, due, upcoming,
    waiting > 0 and enqueued_at(redis.call('LINDEX', names[1], 0)) or '',
    waiting > 1 and enqueued_at(redis.call('LINDEX', names[1], -1)) or '',
    failed, deferred, hinted_jobs, hinted_seconds,
  }
end

-- --- replicas -----------------------------------------------------------------------------------------------------

local function replica_row(replica, reported)
  local report = redis.pcall('GET', key('pp', 'replica', replica))
  return {
    replica,
    size('SCARD', key('pp', 'claims', replica)) or 1,
    redis.call('EXISTS', key('pp', 'drain', replica)) == 1,
    type(report) == 'string' and report or '',
    reported,
  }
end

-- --- pools ----------------------------------------------------------------------------------------------------------

local runs_left = 2 * A.runs_at_most

-- [id, text] of the runs that ended, oldest first: from an id on, or the last ones. A text that is none is empty. And
-- whether there may be more.
local function runs_of(pool, first)
  local name, found, runs = P .. ':pp:runs:' .. pool, nil, {}
  local at_most = math.min(A.runs_at_most, runs_left)
  if at_most == 0 then
    return runs, redis.call('EXISTS', name) == 1
  elseif first ~= '' then
    found = redis.pcall('XRANGE', name, first, '+', 'COUNT', at_most)
  else
    found = redis.pcall('XREVRANGE', name, '+', '-', 'COUNT', at_most)
  end
  runs_left = runs_left - #found
  local from, to, step = 1, #found, 1 -- an error has no length
  if first == '' then
    from, to, step = to, from, -1
  end
  for i = from, to, step do
    local pairs_of_fields, text = found[i][2], ''
    for field = 1, #pairs_of_fields, 2 do
      if pairs_of_fields[field] == 'run' and #pairs_of_fields[field + 1] <= RUN_BYTES_AT_MOST then
        text = pairs_of_fields[field + 1]
      end
    end
    runs[#runs + 1] = {found[i][1], text}
  end
  return runs, first ~= '' and #runs == at_most
end

local function pool_of(pool, runs_after)
  local rows = {}
  local known = redis.pcall('ZRANGE', key('pp', 'replicas', pool), 0, -1, 'WITHSCORES')
  for i = 1, known.err and 0 or #known, 2 do
    rows[#rows + 1] = replica_row(known[i], known[i + 1])
  end
  local runs, more = runs_of(pool, runs_after)
  local used = redis.pcall('HGET', P .. ':pp:limits:' .. pool, 'used')
  return {
    published = redis.pcall('HEXISTS', key('pp', 'pools'), pool) == 1,
    used = type(used) == 'string' and used or '',
    runs = runs,
    more = more,
    replicas = rows,
  }
end

local reply = {
  at = decimal(NOW),
  uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'),
  role = string.match(redis.call('INFO', 'replication'), 'role:(%w+)'),
  queues = {},
  pools = {},
}
for i, queue in ipairs(A.queues) do
  reply.queues[i] = row_of(queue)
end
for i, pool in ipairs(A.pools) do
  reply.pools[i] = pool_of(pool, A.runs_after[i])
end
return cjson.encode(reply)
