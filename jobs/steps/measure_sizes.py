"""A step that only measures: how large the database is, and its largest tables."""

from dataclasses import dataclass

from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Rows, Session

_SIZES = sql.SQL(
    """
    SELECT 'database_bytes' AS name, '' AS schema, '' AS relation,
           pg_catalog.pg_database_size(current_database()) AS value
    UNION ALL
    SELECT 'table_bytes', nspname, relname, pg_catalog.pg_total_relation_size(oid)
    FROM (SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
            AND c.oid NOT IN (SELECT relation FROM pg_catalog.pg_locks
                              WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL)
            AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
          ORDER BY c.relpages DESC, c.oid LIMIT 50) largest
    """
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The database, and its largest tables by what the catalog believes (TOAST and indexes included)."""

    why: str = "to see them grow"
    name: str = "measure"
    object: str = "sizes"
    lock: str = "ACCESS SHARE"
    predicted_seconds: float = 0.0
    limit_seconds: float = 600.0
    alone: bool = False

    def statement(self) -> str:
        """Return what is asked."""
        return _SIZES.as_string(None).strip()

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Ask; a table that is dropped meanwhile has no size, and one that somebody has locked is left out."""
        assert session is not None  # noqa: S101 - the executor of a database job has one

        def piece() -> Rows:
            with session.transaction(read_only=True):
                session.allow(pace.remaining_seconds())
                return session.rows(_SIZES)

        rows = [row for row in pace.attempt(piece) if row["value"] is not None]
        return Outcome(Status.DONE, rows=len(rows), found=tuple(rows))
