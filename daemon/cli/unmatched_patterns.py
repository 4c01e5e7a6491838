"""Table patterns of the configuration that match no table of any database."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.context import Context
    from postgres.identifiers import Relation
    from postgres.table_patterns import TablePattern


def unmatched_patterns(context: "Context", jobs: Sequence[str]) -> list[str]:
    """Return a sentence per pattern of the jobs that matches no table.

    Empty if a database does not answer: a table may be there.
    """
    from postgres.session import TargetError

    patterns = list(_patterns(context, jobs))
    if not patterns:
        return []
    tables: set[Relation] = set()
    for name in context.config.databases:
        try:
            tables |= _tables(context, name)
        except TargetError:
            return []
    return [
        f"{path}: {pattern} matches no table"
        for path, pattern in patterns
        if not any(pattern.matches(table) for table in tables)
    ]


def _patterns(context: "Context", jobs: Sequence[str]) -> "Iterator[tuple[str, TablePattern]]":
    for job in jobs:
        options = context.config.job(job)
        for key in ("include", "exclude"):
            for number, pattern in enumerate(getattr(options, key, ())):
                if hasattr(pattern, "matches"):  # the checks to exclude are plain names
                    yield f"jobs.{job}.{key}[{number}]", pattern
        for number, rule in enumerate(getattr(options, "tables", ())):
            if hasattr(rule.table, "matches"):
                yield f"jobs.{job}.tables[{number}].table", rule.table


def _tables(context: "Context", name: str) -> "set[Relation]":
    from psycopg import sql

    from postgres.identifiers import Relation
    from postgres.session import MAINTAIN, open_session

    query = sql.SQL(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c JOIN"
        " pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')"
    )
    with open_session(context.target(name), MAINTAIN, "plan", read_only=True) as session:
        return {Relation(row["schema"], row["name"]) for row in session.rows(query)}
