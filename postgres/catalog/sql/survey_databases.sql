-- The databases that may be maintained, largest first. pg_database_size would open every file of
-- them; the size is the sum of the tables, read in each.
SELECT d.datname::text AS name, d.datallowconn AS open
FROM pg_catalog.pg_database d
WHERE NOT d.datistemplate
ORDER BY d.datname
