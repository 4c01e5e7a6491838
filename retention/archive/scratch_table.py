"""A batch in a scratch table, as the server reads it."""

from collections.abc import Iterable

from psycopg import sql

from postgres.session import Session
from retention.archive.ledger import Filed

TABLE = sql.Identifier("pg_temp", "sereno_scratch")

_MAKE = sql.SQL("CREATE TEMP TABLE sereno_scratch ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
_LOAD = sql.SQL("COPY {} FROM STDIN (FORMAT text, ENCODING 'UTF8')").format(TABLE)


def load(session: Session, batch: Filed, pieces: Iterable[bytes]) -> None:
    """Make it, inside a transaction that it ends with, and load the rows."""
    session.execute(_MAKE.format(columns=columns(batch), table=batch.table.identifier()))
    session.copy_in(_LOAD, pieces)


def columns(batch: Filed) -> sql.Composed:
    """Return the names of its columns."""
    return sql.SQL(", ").join([sql.Identifier(name) for name, _ in batch.columns])
