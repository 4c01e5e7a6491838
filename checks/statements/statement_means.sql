-- The statements of this database that took the most time, by their id. Only the beginning of a
-- normalized text is shown: utility statements may hold a password.
SELECT s.queryid::text AS object, sum(s.total_exec_time) AS value, sum(s.calls) AS calls,
       min(CASE WHEN s.query ~* '^\s*(select|insert|update|delete|merge|with)\M'
                THEN left(regexp_replace(s.query, '\s+', ' ', 'g'), 120) ELSE '(utility statement)' END) AS query
FROM {schema}.pg_stat_statements s
WHERE s.queryid IS NOT NULL -- of other roles without pg_read_all_stats
  AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
GROUP BY s.queryid
ORDER BY 2 DESC LIMIT 1000
