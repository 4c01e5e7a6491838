"""The state of a scratch database: catalog, dump and rows; and the difference of two states."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from migrations.catalog_state import difference, read_catalog
from migrations.steps.migration_step import become_owner
from migrations.steps.roll_back import ARCHIVE_PREFIX
from postgres.identifiers import Relation
from postgres.session import Session

MOST_SHOWN = 5

_TABLES = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
      AND n.nspname !~ '^pg_(toast|temp)' AND NOT c.relname ^@ {archive}
    ORDER BY 1, 2
    """
)
_ROWS = sql.SQL(
    "SELECT count(*) AS rows, pg_catalog.md5(coalesce(string_agg(t::text, E'\\n' "
    "ORDER BY t::text), '')) AS md5 FROM {table} t"
)


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """Everything that a rollback has to restore."""

    catalog: tuple[str, ...]
    dump: str
    rows: Mapping[Relation, tuple[int, str]]
    """Count and hash of the sorted rows of each table."""

    def tables(self) -> set[str]:
        """Return the tables by name."""
        return {str(one) for one in self.rows}


def read_state(session: Session, dump: str) -> DatabaseState:
    """Return the state of the database of a session, whose dump was taken before.

    Rows are read as the owner: to plan a query is to run its code.
    """
    rows = {}
    with session.transaction(read_only=True, repeatable=True, undone=True):
        become_owner(session, session.target.migrate_role)
        for row in session.rows(_TABLES.format(archive=sql.Literal(ARCHIVE_PREFIX))):
            table = Relation(row["schema"], row["name"])
            found = session.rows(_ROWS.format(table=table.identifier()), keep=False)[0]
            rows[table] = (found["rows"], found["md5"])
    return DatabaseState(tuple(read_catalog(session, "")), dump, rows)


def state_differences(before: DatabaseState, after: DatabaseState) -> list[str]:
    """Return the differences after a rollback, in words. Pure."""
    found = difference(before.catalog, after.catalog)
    if not found and before.dump != after.dump:
        found = [
            f"dump {line}" for line in difference(before.dump.splitlines(), after.dump.splitlines())
        ]
    for table, (rows, md5) in before.rows.items():
        now = after.rows.get(table)
        if now is not None and now != (rows, md5):
            found.append(f"rows of {table}: {rows} before, {now[0]} after, not the same")
    return found[:MOST_SHOWN]
