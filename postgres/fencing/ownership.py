"""The instances that may delete in a database, recorded in the schema `sereno`."""

from psycopg import errors, sql

from postgres.session import Session, TargetError

_TRUST = sql.SQL(
    """
    INSERT INTO sereno.owner (instance_id, instance_name) VALUES (%s, %s)
    ON CONFLICT (instance_id) DO UPDATE
    SET instance_name = excluded.instance_name, trusted_at = now()
    """
)
_THERE = sql.SQL(
    """
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sereno' AND c.relname = 'owner'
    """
)
_NAMED = sql.SQL(
    """
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {schema} AND c.relname = {table}
    """
)
_WRITER_MAY = sql.SQL(
    """
    (NOT EXISTS (SELECT {named})
     OR EXISTS (SELECT {named} AND EXISTS (
                  SELECT FROM pg_catalog.pg_roles w
                  WHERE w.rolname = {writer}
                    AND pg_catalog.has_table_privilege(w.oid, c.oid, 'DELETE'))))
    """
)
_ALONE = sql.SQL("DELETE FROM sereno.owner WHERE instance_id <> %s")
_OURS = sql.SQL(
    """
    SELECT (s.rolsuper OR s.rolcreaterole) AND (t.rolsuper OR t.rolcreaterole) AND c.relkind = 'r'
           AND NOT c.relhastriggers AND NOT c.relhasrules AS ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles s ON s.oid = n.nspowner
    JOIN pg_catalog.pg_roles t ON t.oid = c.relowner
    WHERE n.nspname = 'sereno' AND c.relname = %s
    """
)


def writer_may_delete(
    schema: sql.Identifier, table: sql.Identifier, writer: sql.Identifier
) -> sql.Composed:
    """Return the condition that the login in a column may delete from the table in two others.

    A record of another login does not count; one of a table that is gone does.
    """
    named = _NAMED.format(schema=schema, table=table)
    return _WRITER_MAY.format(named=named, writer=writer)


def is_installed_table(session: Session, table: str) -> bool:
    """Return whether a table of the schema `sereno` exists as an administrator created it."""
    return any(row["ours"] for row in session.rows(_OURS, (table,)))


def record_owner(session: Session, instance_id: str, instance_name: str, *, beside: bool) -> None:
    """Record this instance as the owner, or as one more `beside` the present ones.

    Raises TargetError if the schema is missing or closed to the login.
    """
    name = session.target.name
    if session.rows(_THERE) and not is_installed_table(session, "owner"):
        raise TargetError(
            f"{name}: the schema sereno was not created by an administrator; examine and drop it"
        )
    try:
        with session.transaction():
            session.execute(_TRUST, (instance_id, instance_name))
            if not beside:
                session.execute(_ALONE, (instance_id,))
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        raise TargetError(
            f"{name}: the schema sereno is missing or not accessible; run: sereno install "
            f"{name} --admin DSN"
        ) from None
