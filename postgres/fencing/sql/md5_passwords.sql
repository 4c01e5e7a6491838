-- Who has a password of the method md5, for a login that may not read the hashes themselves.
DROP FUNCTION IF EXISTS sereno.md5_passwords();

CREATE FUNCTION sereno.md5_passwords() RETURNS SETOF oid
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS 'SELECT oid FROM pg_catalog.pg_authid WHERE rolpassword LIKE ''md5%''';

REVOKE ALL ON FUNCTION sereno.md5_passwords() FROM PUBLIC;
