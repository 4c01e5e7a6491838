-- title   = "An index is not used"
-- summary = "no scan in {days} days of statistics; {size} maintained by every write"
-- remedy  = "DROP INDEX CONCURRENTLY {object}; (its definition is in the evidence; look at the standbys first)"
-- es.title   = "Un índice no se usa"
-- es.summary = "ningún recorrido en {days} días de estadísticas; {size} que mantiene cada escritura"
-- es.remedy  = "DROP INDEX CONCURRENTLY {object}; (su definición está en los detalles; mirar antes los servidores en espera)"
-- option.bytes = { default = 10485760, help = "smaller indexes are ignored" }
-- option.warning_bytes = { default = 104857600, help = "warning from this size on, if it is also 1 % of the database; else info" }
-- option.days = { default = 35, help = "days of statistics, and of nightly looks, that are needed" }
-- lasting = "days"
-- source  = "pg_stat_all_indexes; never of a constraint, a replica identity or a foreign key, nor while statistics or the index are young"
SELECT format('%I.%I', n.nspname, i.relname) AS object, bytes::float8 AS value,
       CASE WHEN bytes >= :warning_bytes AND bytes >= 0.01 * pg_catalog.pg_database_size(current_database())
            THEN 'warning' ELSE 'info' END AS severity,
       pg_catalog.pg_size_pretty(bytes) AS size, pg_catalog.pg_get_indexdef(i.oid) AS definition,
       extract(day FROM now() - since.at)::int AS days
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
CROSS JOIN (
  -- after a crash all counters begin anew; only those of the server tell it
  SELECT greatest(d.stats_reset, b.stats_reset) AS at
  FROM pg_catalog.pg_stat_database d, pg_catalog.pg_stat_bgwriter b
  WHERE d.datname = current_database()
) since
CROSS JOIN LATERAL (SELECT CASE WHEN i.relpages >= :bytes / 8192 THEN pg_catalog.pg_relation_size(i.oid) END AS bytes) size
WHERE i.relkind = 'i' AND i.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'sereno')
  AND NOT i.relispartition -- its parent cannot do without it
  AND x.indisvalid AND NOT x.indisunique AND NOT x.indisexclusion AND NOT x.indisreplident AND NOT x.indisclustered
  AND pg_catalog.pg_stat_get_numscans(i.oid) = 0
  AND since.at <= now() - make_interval(days => :days)
  AND bytes >= :bytes
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint k
    WHERE k.contype = 'f' AND k.conrelid = x.indrelid AND x.indkey[0] = ANY (k.conkey))
ORDER BY 2 DESC, 1
