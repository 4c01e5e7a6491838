"""Who may delete in a database: one row in the sereno schema."""

from psycopg import errors, sql

from postgres.connection import Session, TargetError

_TRUST = sql.SQL(
    """
    INSERT INTO sereno.owner (instance_id, instance_name) VALUES (%s, %s)
    ON CONFLICT (only_row) DO UPDATE
    SET instance_id = excluded.instance_id, instance_name = excluded.instance_name, trusted_at = now()
    """
)


_OURS = sql.SQL(
    """
    SELECT (s.rolsuper OR s.rolcreaterole) AND (t.rolsuper OR t.rolcreaterole) AND c.relkind = 'r'
           AND NOT c.relhastriggers AND NOT c.relhasrules AS ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles s ON s.oid = n.nspowner
    JOIN pg_catalog.pg_roles t ON t.oid = c.relowner
    WHERE n.nspname = 'sereno' AND c.relname = 'owner'
    """
)


def take_over(session: Session, instance_id: str, instance_name: str) -> None:
    """Make this instance the one that may delete. TargetError: the schema is missing or closed to the login."""
    name = session.target.name
    if any(not row["ours"] for row in session.rows(_OURS)):
        raise TargetError(f"{name}: the schema sereno is not one that an administrator made; look at it and drop it")
    try:
        session.execute(_TRUST, (instance_id, instance_name))
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        raise TargetError(
            f"{name}: the sereno schema is missing or closed; run: sereno install {name} --admin DSN"
        ) from None
