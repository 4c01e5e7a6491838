"""A step that measures the size of a database and of its largest tables."""

from dataclasses import dataclass

from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSizes(DatabaseStep):
    """Measures the database and its 50 largest tables, TOAST and indexes included."""

    why: str = "stored to show growth"
    name: str = "measure"
    object: str = "sizes"
    lock: str = "ACCESS SHARE"
    limit_seconds: float = 600.0

    def statement(self) -> str:
        """Return the query."""
        return _SIZES.as_string(None).strip()

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the query; tables that are locked exclusively or dropped meanwhile are left out."""

        def piece() -> Rows:
            with session.transaction(read_only=True):
                session.set_timeouts(control.remaining_seconds())
                return session.rows(_SIZES)

        rows = [row for row in control.attempt(piece) if row["value"] is not None]
        return Outcome(Status.DONE, rows=len(rows), found=tuple(rows))
