-- The databases that may be maintained, largest first. pg_database_size would open every file of
-- them; the size is the sum of the tables, read in each.
SELECT d.datname::text AS name
FROM pg_catalog.pg_database d
-- a limit of -2 is that of a database whose DROP was interrupted
WHERE NOT d.datistemplate AND d.datallowconn AND d.datconnlimit <> -2
ORDER BY d.datname
