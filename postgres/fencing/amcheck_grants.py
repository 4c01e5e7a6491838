"""The extension amcheck for `maintain`: created if it is available, and EXECUTE on its functions.

It has to be a superuser's work: the extension is not trusted (manual, F.1).
"""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from postgres.statement_file import read_statement

AMCHECK_FUNCTIONS = read_statement("postgres.fencing", "amcheck_functions")
"""Lists the functions of the installed extension; it takes no parameters."""
_AVAILABLE = sql.SQL(
    "SELECT FROM pg_catalog.pg_available_extensions "
    "WHERE name = 'amcheck' AND installed_version IS NULL"
)
_BEFORE_CREATION = (
    (0, "bt_index_check(regclass, boolean)"),
    (0, "verify_heapam(regclass, boolean, boolean, text, bigint, bigint)"),
    (170000, "bt_index_check(regclass, boolean, boolean)"),
    (180000, "gin_index_check(regclass)"),
)
"""The functions that a new extension has, with the first server version that has them."""


def amcheck_grants(
    administrator: psycopg.Connection[dict[str, Any]], user: str
) -> Iterator[sql.Composed]:
    """Yield the statements that let a login verify indexes and tables with amcheck.

    A new extension is created in the schema sereno. None are yielded where the server does not
    offer amcheck.
    """
    role, version = sql.Identifier(user), administrator.info.server_version
    rows = administrator.execute(AMCHECK_FUNCTIONS).fetchall()
    signatures = [row["signature"] for row in rows]
    for schema in sorted({row["schema"] for row in rows}):
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role)
    if administrator.execute(_AVAILABLE).fetchall():
        yield sql.SQL("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA sereno").format()
        signatures = [f"sereno.{text}" for since, text in _BEFORE_CREATION if version >= since]
    if signatures:
        yield sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
            sql.SQL(", ".join(signatures)), role
        )
