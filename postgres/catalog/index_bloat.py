"""The bloat of B-tree indexes: estimated from statistics, or measured by pgstattuple."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from postgres.identifiers import Relation
from postgres.session import Session
from postgres.statement_file import read_statement

_SEES = sql.SQL("SELECT has_table_privilege('pg_catalog.pg_statistic', 'SELECT') AS sees")
_ESTIMATE = read_statement("postgres.catalog", "index_bloat")
_MEASURES = sql.SQL(
    """
    SELECT n.nspname AS schema FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pgstatindex'
      AND p.proargtypes = ARRAY['pg_catalog.regclass'::regtype]::oidvector
    WHERE e.extname = 'pgstattuple' AND has_function_privilege(p.oid, 'EXECUTE')
      AND has_schema_privilege(n.oid, 'USAGE')
    """
)
_MEASURE = sql.SQL(
    """
    SELECT index_size AS bytes,
           (current_setting('block_size')::int * leaf_pages
            * coalesce(nullif(avg_leaf_density, 'NaN'), 0)
            / coalesce((SELECT option_value::float8 FROM pg_catalog.pg_class i
                        CROSS JOIN LATERAL pg_catalog.pg_options_to_table(i.reloptions)
                        WHERE i.oid = {oid} AND option_name = 'fillfactor'), 90))::bigint AS needed
    FROM {measure}({oid}::oid::regclass)
    """
)


@dataclass(frozen=True, slots=True)
class IndexBloat:
    """An index, its size, and the size of a fresh build, in bytes."""

    oid: int
    index: Relation
    table: Relation
    bytes: int
    needed: int
    owned: bool
    """Whether the login may drop an invalid index that a failed rebuild leaves."""
    owner: str = ""
    measured: bool = False

    @property
    def wasted(self) -> int:
        """Return the bytes that a rebuild would free."""
        return max(0, self.bytes - self.needed)

    @property
    def share(self) -> float:
        """Return the wasted share of the index."""
        if self.bytes:
            return self.wasted / self.bytes
        return 0.0


def can_estimate(session: Session) -> bool:
    """Return whether the login may read the statistics of an estimate (pg_statistic)."""
    return bool(session.rows(_SEES)[0]["sees"])


def estimate_bloat(session: Session, least: int) -> Sequence[IndexBloat]:
    """Estimate every B-tree of at least `least` bytes from statistics.

    Takes no lock on any of them.
    """
    return _bloats(session, least, sql.SQL("true"))


def measure_bloat(session: Session, found: IndexBloat) -> IndexBloat:
    """Measure one index by reading it whole with pgstattuple, else estimate it from its rows.

    A login that may not read statistics keeps the estimate.
    """
    schemas = session.rows(_MEASURES)
    if not schemas and not can_estimate(session):
        return found
    if not schemas:
        session.execute(sql.SQL("ANALYZE {}").format(found.table.identifier()))
        again = _bloats(session, 0, sql.SQL("x.indexrelid = {}").format(sql.Literal(found.oid)))
        if again:
            return again[0]
        return found
    measure = sql.Identifier(schemas[0]["schema"], "pgstatindex")
    row = session.rows(_MEASURE.format(measure=measure, oid=sql.Literal(found.oid)))[0]
    return replace(
        found, bytes=row["bytes"], needed=min(row["needed"], row["bytes"]), measured=True
    )


def _bloats(session: Session, least: int, which: sql.Composable) -> list[IndexBloat]:
    rows = session.rows(_ESTIMATE.format(least=sql.Literal(least), which=which))
    return [_bloat(row) for row in rows]


def _bloat(row: dict[str, Any]) -> IndexBloat:
    index = Relation(row.pop("schema"), row.pop("name"))
    return IndexBloat(
        index=index, table=Relation(row.pop("table_schema"), row.pop("table_name")), **row
    )
