-- report: a replica says how it is.
--
-- Guarantee: the report and its time, by Redis' clock, are written together; the report expires after ttl_seconds.
--
-- Arguments: prefix, pool, replica, report (JSON text), ttl_seconds. Reply: true.

redis.call('SET', key('pp', 'replica', A.replica), A.report, 'EX', math.ceil(A.ttl_seconds))
note_replica(A.pool, A.replica, 'CH')
return 'true'
