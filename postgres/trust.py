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


def take_over(session: Session, instance_id: str, instance_name: str) -> None:
    """Make this instance the one that may delete. TargetError: the schema is missing or closed to the login."""
    try:
        session.execute(_TRUST, (instance_id, instance_name))
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        name = session.target.name
        raise TargetError(
            f"{name}: the sereno schema is missing or closed; run: sereno install {name} --admin DSN"
        ) from None
