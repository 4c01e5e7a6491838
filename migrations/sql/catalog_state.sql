-- The catalog of what an owner has, one line per property; compared before a phase and after its
-- rollback. It has what a dump hides too: invalid indexes, and settings of database and role.
WITH who AS (
  SELECT oid FROM pg_catalog.pg_roles WHERE {role} = '' OR rolname = {role}
), own AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS named
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
    AND n.nspname !~ '^pg_(toast|temp)' AND c.relname !~ '^sereno_archive_'
    AND c.relowner IN (SELECT oid FROM who)
)
SELECT format('relation %s kind=%s persistence=%s owner=%s acl=%s options=%s rls=%s%s replica=%s',
              named, relkind, relpersistence, relowner::regrole,
              (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a),
              (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(reloptions) o),
              relrowsecurity, relforcerowsecurity, relreplident)
       || coalesce(' partition by ' || pg_get_partkeydef(oid), '')
       || coalesce(' bound=' || pg_get_expr(relpartbound, oid), '')
       || coalesce(' of ' || (SELECT string_agg(i.inhparent::regclass::text, ','
                                                ORDER BY i.inhseqno)
                              FROM pg_catalog.pg_inherits i WHERE i.inhrelid = own.oid), '')
       || coalesce(' comment=' || pg_catalog.obj_description(oid, 'pg_class'), '') AS line
FROM own WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
UNION ALL
SELECT format('column %s %s %I %s', own.named,
              row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname,
              format_type(a.atttypid, a.atttypmod))
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       || format(' identity=%s generated=%s storage=%s compression=%s statistics=%s options=%s',
                 a.attidentity, a.attgenerated, a.attstorage, a.attcompression,
                 nullif(a.attstattarget, -1), a.attoptions)
       || coalesce(' collate ' || (SELECT l.collname FROM pg_catalog.pg_collation l
                                   WHERE l.oid = a.attcollation), '')
       || coalesce(' acl=' || (SELECT string_agg(x::text, ',' ORDER BY x::text)
                               FROM unnest(a.attacl) x), '')
       || coalesce(' comment=' || pg_catalog.col_description(a.attrelid, a.attnum), '')
FROM own JOIN pg_catalog.pg_attribute a ON a.attrelid = own.oid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE own.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('constraint %s %I %s valid=%s', own.named, k.conname,
              pg_get_constraintdef(k.oid), k.convalidated)
       || coalesce(' comment=' || pg_catalog.obj_description(k.oid, 'pg_constraint'), '')
FROM own JOIN pg_catalog.pg_constraint k ON k.conrelid = own.oid
UNION ALL
SELECT format('index %s valid=%s ready=%s clustered=%s identity=%s', pg_get_indexdef(i.indexrelid),
              i.indisvalid, i.indisready, i.indisclustered, i.indisreplident)
       || coalesce(' comment=' || pg_catalog.obj_description(i.indexrelid, 'pg_class'), '')
FROM own JOIN pg_catalog.pg_index i ON i.indrelid = own.oid WHERE own.relkind IN ('r', 'p', 'm')
UNION ALL
SELECT format('trigger %s enabled=%s', pg_get_triggerdef(t.oid), t.tgenabled)
       || coalesce(' comment=' || pg_catalog.obj_description(t.oid, 'pg_trigger'), '')
FROM own JOIN pg_catalog.pg_trigger t ON t.tgrelid = own.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT format('rule %s', pg_get_ruledef(r.oid))
FROM own JOIN pg_catalog.pg_rewrite r ON r.ev_class = own.oid
UNION ALL
SELECT format('policy %s %I %s %s %s %s %s', own.named, p.polname, p.polcmd, p.polpermissive,
              p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid),
              pg_get_expr(p.polwithcheck, p.polrelid))
       || coalesce(' comment=' || pg_catalog.obj_description(p.oid, 'pg_policy'), '')
FROM own JOIN pg_catalog.pg_policy p ON p.polrelid = own.oid
UNION ALL
SELECT format('sequence %s %s %s %s %s %s %s', own.named, s.seqtypid::regtype, s.seqstart,
              s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
       || coalesce((SELECT format(' of %s.%I', d.refobjid::regclass, a.attname)
                    FROM pg_catalog.pg_depend d
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid
                                                  AND a.attnum = d.refobjsubid
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = own.oid
                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
                      AND d.deptype IN ('a', 'i') LIMIT 1), '')
FROM own JOIN pg_catalog.pg_sequence s ON s.seqrelid = own.oid
UNION ALL
SELECT format('statistics %s', pg_get_statisticsobjdef(x.oid))
FROM own JOIN pg_catalog.pg_statistic_ext x ON x.stxrelid = own.oid
UNION ALL
SELECT format('function %s acl=%s %s', p.oid::regprocedure,
              (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(p.proacl) a),
              CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END)
       || coalesce(' comment=' || pg_catalog.obj_description(p.oid, 'pg_proc'), '')
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proowner IN (SELECT oid FROM who)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
UNION ALL
SELECT format('type %s %s %s %s', format_type(t.oid, NULL), t.typtype,
              CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
              (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
               FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid))
       || coalesce((SELECT string_agg(' ' || pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                    FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid), '')
       || coalesce(' acl=' || (SELECT string_agg(a::text, ',' ORDER BY a::text)
                               FROM unnest(t.typacl) a), '')
       || coalesce(' comment=' || pg_catalog.obj_description(t.oid, 'pg_type'), '')
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r') AND t.typowner IN (SELECT oid FROM who)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
UNION ALL
SELECT format('schema %I owner=%s acl=%s', n.nspname, n.nspowner::regrole,
              (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(n.nspacl) a))
       || coalesce(' comment=' || pg_catalog.obj_description(n.oid, 'pg_namespace'), '')
FROM pg_catalog.pg_namespace n
WHERE n.nspowner IN (SELECT oid FROM who) AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'sereno')
UNION ALL
SELECT format('default privileges %s %s %s %s', d.defaclrole::regrole, d.defaclnamespace,
              d.defaclobjtype,
              (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(d.defaclacl) a))
FROM pg_catalog.pg_default_acl d WHERE d.defaclrole IN (SELECT oid FROM who)
UNION ALL
SELECT format('extension %I %s', e.extname, e.extversion) FROM pg_catalog.pg_extension e
UNION ALL
SELECT format('setting database=%s role=%s %s', s.setdatabase <> 0,
              CASE WHEN s.setrole <> 0 THEN s.setrole::regrole::text ELSE '' END, s.setconfig)
FROM pg_catalog.pg_db_role_setting s
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                            WHERE datname = current_database()))
  AND (s.setrole = 0 OR s.setrole IN (SELECT oid FROM who))
ORDER BY 1
