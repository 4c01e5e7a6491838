-- title   = "The partitions of a table end soon"
-- summary = "the last partition ends at {ends}, and there is {rest}"
-- remedy  = "{cure}"
-- es.title   = "Las particiones de una tabla se acaban pronto"
-- es.summary = "la última partición termina en {ends}, y hay {rest_es}"
-- es.remedy  = "{cure}"
-- option.days = { default = 7, help = "days ahead that the partitions have to reach, and at least one partition" }
-- source  = "PostgreSQL manual, 5.11; only RANGE over one column of time, whose last two partitions are in use"
WITH bound AS (
  SELECT p.partrelid, regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid),
                                   '^FOR VALUES FROM \(''([^'']+)''\) TO \(''([^'']+)''\)$') AS ends
  FROM pg_catalog.pg_partitioned_table p
  JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                                AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
  JOIN pg_catalog.pg_inherits i ON i.inhparent = p.partrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  WHERE p.partstrat = 'r' AND p.partnatts = 1
), last AS (
  SELECT DISTINCT ON (partrelid) partrelid, ends[1]::timestamptz AS begins, ends[2]::timestamptz AS ends,
         age(ends[2]::timestamptz, ends[1]::timestamptz) AS step
  FROM bound
  WHERE ends IS NOT NULL AND ends[2] <> 'infinity' AND ends[1] <> '-infinity'
  ORDER BY partrelid, ends[2]::timestamptz DESC
)
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       round((extract(epoch FROM l.ends - now()) / 86400)::numeric, 2)::float8 AS value,
       CASE WHEN p.partdefid <> 0 THEN CASE WHEN l.ends <= now() THEN 'high' ELSE 'warning' END
            WHEN l.ends <= now() + interval '1 day' THEN 'critical' ELSE 'high' END AS severity,
       to_char(l.ends, 'YYYY-MM-DD HH24:MI') AS ends,
       CASE WHEN p.partdefid <> 0 THEN 'a default partition, which would take the new rows'
            ELSE 'no default partition: new rows will be refused' END AS rest,
       CASE WHEN p.partdefid <> 0 THEN 'una partición por defecto, que recibiría las filas nuevas'
            ELSE 'ninguna por defecto: las filas nuevas se rechazarán' END AS rest_es,
       (SELECT string_agg(format('CREATE TABLE %I.%I PARTITION OF %I.%I FOR VALUES FROM (%L) TO (%L);', n.nspname,
                                 left(c.relname, 40) || to_char(l.ends + k * l.step, '_YYYYMMDDHH24'), n.nspname,
                                 c.relname, l.ends + k * l.step, l.ends + (k + 1) * l.step), ' ' ORDER BY k)
        FROM generate_series(0, 11) k
        WHERE l.ends + k * l.step < now() + greatest(make_interval(days => :days), l.step)) AS cure
FROM last l
JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = l.partrelid
JOIN pg_catalog.pg_class c ON c.oid = l.partrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.ends < now() + greatest(make_interval(days => :days), l.step) AND l.ends > now() - 2 * l.step
ORDER BY l.ends
