"""The extension amcheck for `maintain`: created if it is available, and EXECUTE on its functions.

It has to be a superuser's work: the extension is not trusted (manual, F.1).
"""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

_GRANTED = ("bt_index_check", "verify_heapam", "gin_index_check")
_FUNCTIONS = sql.SQL(
    """
    SELECT n.nspname AS schema,
           format('%%I.%%I(%%s)', n.nspname, p.proname, pg_catalog.oidvectortypes(p.proargtypes))
             AS signature
    FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass
     AND d.refobjid = e.oid AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
    JOIN pg_catalog.pg_proc p ON p.oid = d.objid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE e.extname = 'amcheck' AND p.proname = ANY (%s)
    ORDER BY 2
    """
)
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
    rows = administrator.execute(_FUNCTIONS, (list(_GRANTED),)).fetchall()
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
