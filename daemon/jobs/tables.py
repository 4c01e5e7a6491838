"""The tables of a database, each with its own effective triggers: what ANALYZE and VACUUM are planned from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from psycopg import sql

from daemon.history import Memory
from daemon.jobs.job import Looking
from postgres.identifiers import Relation

NO_PRIVILEGE = "no privilege: needs pg_maintain (from 17), or membership in the table's owner"

_QUERY = (resources.files("daemon.jobs") / "sql" / "tables.sql").read_text("utf-8")
_FROZEN_SINCE = 180000
_UNFROZEN = sql.SQL("CASE WHEN c.relpages > 0 THEN 1 - least(c.relallfrozen::float8 / c.relpages, 1) ELSE 1 END")


@dataclass(frozen=True, slots=True)
class Table:
    """One row of the query: what has changed, and from when on that counts. A threshold of None is never reached."""

    oid: int
    relation: Relation
    system: bool
    partitioned: bool
    root: int | None
    unknown: bool
    """Nobody has ever counted its rows."""
    modified: int
    dead: int
    inserted: int
    toast_dead: int
    toast_inserted: int
    age: int
    """Transactions since its oldest row that is not frozen, TOAST included."""
    members: int
    """The same in multixacts."""
    recent: bool
    """Somebody analyzed it within a day: a parent that we have not analyzed ourselves is left to them until then."""
    analyze_threshold: float
    dead_threshold: float
    inserted_threshold: float | None
    toast_threshold: float
    toast_inserted_threshold: float | None
    age_limit: float
    members_limit: float
    changes: int
    """All changes ever counted in a parent's leaves; the plan compares with what it was the last time."""
    bytes: int
    """Estimated, TOAST included."""
    dead_bytes: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """The tables, what was remembered of them, and the server's version."""

    tables: Sequence[Table]
    memory: Mapping[str, Memory]
    version: int


def look(looking: Looking, exclude: Collection[Relation]) -> Observation:
    """Read the catalog and the statistics, but of the tables to leave alone; take no lock on any table."""
    session = looking.session
    assert session is not None  # noqa: S101 - the scope is the database
    unfrozen = _UNFROZEN if session.facts.version >= _FROZEN_SINCE else sql.SQL("1")
    found = [_table(row) for row in session.rows(sql.SQL(_QUERY).format(unfrozen=unfrozen))]
    left_alone = set(exclude)
    tables = [table for table in found if table.relation not in left_alone]
    return Observation(tables, looking.memory, session.facts.version)


def _table(row: dict[str, Any]) -> Table:
    relation = Relation(row.pop("schema"), row.pop("name"))
    return Table(relation=relation, **row)
