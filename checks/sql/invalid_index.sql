-- title  = "An index is invalid: maintained by every write, used by no query"
-- remedy = "REINDEX INDEX CONCURRENTLY {object}; (or DROP INDEX CONCURRENTLY {object};)"
-- source = "PostgreSQL manual, CREATE INDEX, Building Indexes Concurrently"
SELECT format('%I.%I', n.nspname, i.relname) AS object,
       pg_catalog.pg_relation_size(x.indexrelid) AS value,
       'warning' AS severity,
       format('invalid index on %I.%I, %s: left by a failed concurrent build',
              n.nspname, t.relname, pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(x.indexrelid))) AS summary,
       format('%I.%I', n.nspname, t.relname) AS "table"
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
WHERE NOT (x.indisvalid AND x.indisready AND x.indislive)
  AND i.relkind = 'i'
  AND n.nspname !~ '^pg_temp_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)
ORDER BY 2 DESC, 1
