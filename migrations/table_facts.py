"""Size, rows and writes of the tables that a migration locks, from the catalog."""

from collections.abc import Iterable, Sequence

from psycopg import sql

from migrations.statements import TableLock
from migrations.steps.migration_step import MigrationStep
from migrations.steps.roll_back import RollBackPhase
from migrations.steps.run_batches import RunBatches
from migrations.steps.run_file import RunFile
from migrations.steps.run_statements import RunStatements
from postgres.session import Rows, Session

_TABLES = sql.SQL(
    """
    SELECT format('%%I.%%I', n.nspname, c.relname) AS name,
           pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) AS size,
           greatest(0, c.reltuples)::bigint AS rows,
           coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0)::bigint AS writes
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
    JOIN unnest(%(schemas)s::text[], %(names)s::text[]) w (schema, name)
      ON c.relname = w.name
     AND (n.nspname = w.schema OR w.schema = '' AND n.nspname = ANY (%(path)s))
    WHERE c.relkind IN ('r', 'p')
    GROUP BY c.oid, n.nspname, c.relname, c.reltuples, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
    ORDER BY c.reltuples DESC, 1
    """
)


def tables_of(steps: Iterable[MigrationStep]) -> list[TableLock]:
    """Return the tables that steps lock or walk. Pure."""
    found: set[TableLock] = set()
    for step in steps:
        if isinstance(step, RunFile | RollBackPhase):
            found |= set(step.locks)
        elif isinstance(step, RunStatements):
            found |= {lock for one in step.file.statements for lock in one.locks}
        elif isinstance(step, RunBatches):
            found.add(TableLock(step.table.schema, step.table.name, step.lock))
    return sorted(found)


def read_tables(session: Session, tables: Sequence[TableLock], path: Sequence[str]) -> Rows:
    """Return name, size, rows and writes of those that exist, the largest first."""
    parameters = {
        "schemas": [one.schema for one in tables],
        "names": [one.table for one in tables],
        "path": list(path),
    }
    return session.rows(_TABLES, parameters)
