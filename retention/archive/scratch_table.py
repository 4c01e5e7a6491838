"""A batch loaded into a temporary table, as the server reads it."""

from collections.abc import Iterable

from psycopg import sql

from postgres.session import Session
from retention.archive.ledger import LedgeredBatch

TABLE = sql.Identifier("pg_temp", "sereno_scratch")

_MAKE = sql.SQL(
    "CREATE TEMP TABLE sereno_scratch ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
)
_LOAD = sql.SQL("COPY {} FROM STDIN (FORMAT text, ENCODING 'UTF8')").format(TABLE)


def load(session: Session, batch: LedgeredBatch, pieces: Iterable[bytes]) -> None:
    """Create the table inside the current transaction and load the rows."""
    session.execute(_MAKE.format(columns=columns(batch), table=batch.table.identifier()))
    session.copy_in(_LOAD, pieces)


def columns(batch: LedgeredBatch) -> sql.Composed:
    """Return the column names of the batch."""
    return sql.SQL(", ").join([sql.Identifier(name) for name, _ in batch.columns])
