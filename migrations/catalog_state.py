"""The catalog of the objects of an owner, as lines, and the difference of two states."""

from collections.abc import Sequence

from psycopg import sql

from postgres.session import Session
from postgres.statement_file import read_statement

_CATALOG = read_statement("migrations", "catalog_state")


def read_catalog(session: Session, role: str) -> list[str]:
    """Return the catalog of the objects of a role as lines; of all objects if it is empty."""
    rows = session.rows(_CATALOG.format(role=sql.Literal(role)))
    return [row["line"] for row in rows]


def difference(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return the missing lines (-) and the new ones (+). Pure."""
    old, new = set(before), set(after)
    missing = [f"- {line}" for line in before if line not in new]
    return missing + [f"+ {line}" for line in after if line not in old]
