"""The tables of a database, each with its own effective triggers: what ANALYZE and VACUUM are planned from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from psycopg import sql
from pydantic import Field

from domain.memory import Memory
from jobs.job import JobInputs
from jobs.option_types import Model, TablePattern
from postgres.identifiers import Relation
from postgres.table_patterns import Selection, parse_pattern


class TableRule(Model):
    """What holds for some tables of a job; of two rules for a table the first that says it."""

    table: TablePattern = Field(description="Which tables, by a pattern as psql has them.")
    threshold: int | None = Field(
        None, ge=0, description="Due from so many rows on (dead, or for analyze changed), instead of its own trigger."
    )
    scale_factor: float | None = Field(None, ge=0, le=100, description="And this share of its rows.")
    overrun: bool | None = Field(None, description="Begin it though it would not be done when the window ends.")
    pace: Literal["gentle", "full"] | None = Field(None, description="Instead of governor.pace.")


class TableOptions(Model):
    """What a job that goes from table to table may have."""

    include: tuple[TablePattern, ...] = Field(
        (), description="Only these tables, by patterns as psql has them (like 'public.log_*'); all if none is given."
    )
    exclude: tuple[TablePattern, ...] = Field((), description="Tables to leave alone.")
    tables: tuple[TableRule, ...] = ()

    @property
    def selection(self) -> Selection:
        """Which tables are meant."""
        return Selection(self.include, self.exclude)


LEFT_TO_AUTOVACUUM = "left to autovacuum: its worker is on it, pid {}"
NO_PRIVILEGE = "no privilege: needs pg_maintain (from 17), or membership in the table's owner"

MARGIN, UNSURE = 1.2, 2.0
"""A prediction is wrong by so much: from a table's own history, from that of others."""
LEAST_BYTES = 1024**2

_QUERY = (resources.files("jobs") / "sql" / "tables.sql").read_text("utf-8")
_FROZEN_SINCE = 180000
_NO_RULE = TableRule(table=parse_pattern("*.*"))
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
    analyzed_ago: float | None
    """Seconds since its last ANALYZE, whoever's; None: the server knows of none."""
    worker: int | None
    """The pid of the autovacuum worker that is on it."""
    recent: bool
    """Somebody analyzed it within a day: a parent that we have not analyzed ourselves is left to them until then."""
    tuples: float
    analyze_threshold: float
    dead_threshold: float
    inserted_threshold: float | None
    toast_threshold: float
    toast_inserted_threshold: float | None
    age_limit: float
    members_limit: float
    failing: bool
    """It is so near to the server's failsafe that nothing but freezing counts."""
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
    rules: Sequence[TableRule] = ()
    rate: float = 0.0
    """Seconds per byte that the job has taken here so far; 0: it has not."""

    def refused(self, table: Table) -> str:
        """Return why a table that is due is not touched; nothing if it is."""
        if not table.allowed:
            return NO_PRIVILEGE
        return LEFT_TO_AUTOVACUUM.format(table.worker) if table.worker else ""

    def predicted(self, table: Table) -> float:
        """Return how many seconds a table will take, with a margin: by its own history, else by the job's rate."""
        return predicted(self.memory.get(str(table.relation)), table.bytes, self.rate)

    def rule(self, table: Table) -> TableRule:
        """Return what the configuration says of a table."""
        return _rule(self.rules, table)

    def trigger(self, table: Table, own: float) -> float:
        """Return from how many rows on a table is due: as the configuration says, else its own trigger."""
        return trigger(self.rules, table, own)


def look(inputs: JobInputs, options: TableOptions, also: Sequence[int] = ()) -> Observation:
    """Read the catalog and the statistics, but of the tables to leave alone; take no lock on any table.

    Tables that nobody has written to are left out, but not those of the oids `also`.
    """
    session = inputs.opened
    unfrozen = _UNFROZEN if session.facts.version >= _FROZEN_SINCE else sql.SQL("1")
    query = sql.SQL(_QUERY).format(unfrozen=unfrozen, also=sql.Literal(list(also)))
    found = [_table(row) for row in session.rows(query)]
    tables = [table for table in found if options.selection.chooses(table.relation)]
    return Observation(
        tables,
        inputs.memory,
        session.facts.version,
        rules=options.tables,
        rate=rate(one for one in inputs.memory.values() if "index" not in one.evidence),
    )


def trigger(rules: Sequence[TableRule], table: Table, own: float) -> float:
    """Return from how many rows on a table is due: as the rules of a job say, else its own trigger."""
    rule = _rule(rules, table)
    if rule.threshold is None and rule.scale_factor is None:
        return own
    return (rule.threshold or 0) + (rule.scale_factor or 0.0) * table.tuples


def _rule(rules: Sequence[TableRule], table: Table) -> TableRule:
    """Of each field the first that is said."""
    meant = [rule for rule in rules if rule.table.matches(table.relation)]
    if len(meant) < 2:  # noqa: PLR2004 - nothing to choose from
        return meant[0] if meant else _NO_RULE
    said = {name: value for rule in reversed(meant) for name, value in rule if value is not None}
    return _NO_RULE.model_copy(update=said)


def predicted(before: Memory | None, size: int, rate: float) -> float:
    """Return how many seconds an object of so many bytes will take, with a margin."""
    if before is None:
        return UNSURE * rate * size
    return MARGIN * before.seconds * max(1.0, size / before.bytes if before.bytes else 1.0)


def rate(memory: Iterable[Memory]) -> float:
    """Return the seconds per byte of what was done before; what was too small to tell is left out."""
    known = [before for before in memory if before.bytes >= LEAST_BYTES]
    return sum(before.seconds for before in known) / sum(before.bytes for before in known) if known else 0.0


def _table(row: dict[str, Any]) -> Table:
    relation = Relation(row.pop("schema"), row.pop("name"))
    return Table(relation=relation, **row)
