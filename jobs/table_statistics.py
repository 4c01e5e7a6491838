"""Statistics and effective thresholds of all tables, from which ANALYZE and VACUUM are planned."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql
from pydantic import Field

from domain.cause import Cause
from domain.memory import Memory
from domain.options import Model
from jobs.job import JobInputs
from jobs.option_types import Tables
from jobs.steps.statement import Skip
from postgres.identifiers import Relation
from postgres.statement_file import read_statement
from postgres.table_patterns import TableSelection, parse_pattern


class TableRule(Model):
    """A rule for some tables of a job; for each field the first matching rule with it counts."""

    table: Tables = Field(
        description="The tables that the rule applies to, as a pattern as in psql."
    )
    threshold: int | None = Field(
        None,
        ge=0,
        description=(
            "Rows from which a table is due (dead, or for analyze changed), instead of its own "
            "threshold."
        ),
    )
    scale_factor: float | None = Field(
        None, ge=0, le=100, description="Added to the threshold: this share of the table's rows."
    )
    overrun: bool | None = Field(
        None, description="Begin a table although it will not finish within the window."
    )
    pace: Literal["gentle", "full"] | None = Field(
        None, description="Speed for these tables, instead of governor.pace."
    )


class TableOptions(Model):
    """Options of the jobs that work table by table."""

    include: tuple[Tables, ...] = Field(
        (),
        description="Only these tables, as patterns as in psql (like 'public.log_*'); by default "
        "all.",
    )
    exclude: tuple[Tables, ...] = Field((), description="Tables to leave out.")
    tables: tuple[TableRule, ...] = ()

    @property
    def selection(self) -> TableSelection:
        """Return the tables to work on."""
        return TableSelection(self.include, self.exclude)


LEFT_TO_AUTOVACUUM = "left to autovacuum: its worker is on the table, pid {}"
NO_PRIVILEGE = Skip(
    Cause.NO_PRIVILEGE,
    "no privilege: needs pg_maintain (from 17), or membership in the table's owner",
)

MARGIN, UNSURE = 1.2, 2.0
"""Factors on predictions: from a table's own history, and from other tables."""
LEAST_BYTES = 1024**2

_QUERY = read_statement("jobs", "tables")
_FROZEN_SINCE = 180000
_NO_RULE = TableRule(table=parse_pattern("*.*"))
_UNFROZEN = sql.SQL(
    "CASE WHEN c.relpages > 0 THEN 1 - least(c.relallfrozen::float8 / c.relpages, 1) ELSE 1 END"
)


@dataclass(frozen=True, slots=True)
class Table:
    """One row of the query: changes and thresholds. A threshold of None is never reached."""

    oid: int
    relation: Relation
    system: bool
    partitioned: bool
    root: int | None
    unknown: bool
    """The table was never vacuumed or analyzed, so its row count is unknown."""
    modified: int
    dead: int
    inserted: int
    toast_dead: int
    toast_inserted: int
    age: int
    """Age of its oldest unfrozen row in transactions, TOAST included."""
    members: int
    """Age of its oldest unfrozen row in multixacts."""
    analyzed_ago: float | None
    """Seconds since its last ANALYZE by anybody; None if the server knows of none."""
    worker: int | None
    """The pid of the autovacuum worker on the table."""
    recent: bool
    """Analyzed within a day; a parent that sereno has never analyzed is left alone until then."""
    tuples: float
    analyze_threshold: float
    dead_threshold: float
    inserted_threshold: float | None
    toast_threshold: float
    toast_inserted_threshold: float | None
    age_limit: float
    members_limit: float
    failing: bool
    """Near the server's failsafe: only freezing counts."""
    changes: int
    """Total changes of a parent's leaves; the plan compares it with the last run."""
    bytes: int
    """Estimated size, TOAST included."""
    dead_bytes: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """The tables, the job's memory of them, and the server version."""

    tables: Sequence[Table]
    memory: Mapping[str, Memory]
    version: int
    rules: Sequence[TableRule] = ()
    seconds_per_byte: float = 0.0
    """The job's average rate; 0 without history."""

    def skip(self, table: Table) -> Skip | None:
        """Return the reason for skipping a table that is due, if there is one."""
        if not table.allowed:
            return NO_PRIVILEGE
        if table.worker:
            return Skip(Cause.LEFT_TO_AUTOVACUUM, LEFT_TO_AUTOVACUUM.format(table.worker))
        return None

    def predict_seconds(self, table: Table) -> float:
        """Return the predicted duration, with a margin, from own history or the average rate."""
        return predict_seconds(
            self.memory.get(str(table.relation)), table.bytes, self.seconds_per_byte
        )

    def rule(self, table: Table) -> TableRule:
        """Return the rule for a table."""
        return _rule(self.rules, table)

    def effective_threshold(self, table: Table, own: float) -> float:
        """Return the number of rows from which a table is due."""
        return effective_threshold(self.rules, table, own)


def read_tables(
    inputs: JobInputs, options: TableOptions, also: Sequence[int] = ()
) -> TableStatistics:
    """Read catalog and statistics of the selected tables; takes no lock on any table.

    Tables without changes are left out, except the oids `also`.
    """
    session = inputs.opened
    unfrozen = _UNFROZEN if session.facts.version >= _FROZEN_SINCE else sql.SQL("1")
    query = _QUERY.format(unfrozen=unfrozen, also=sql.Literal(list(also)))
    found = [_table(row) for row in session.rows(query)]
    tables = [table for table in found if options.selection.includes_table(table.relation)]
    return TableStatistics(
        tables,
        inputs.memory,
        session.facts.version,
        rules=options.tables,
        seconds_per_byte=seconds_per_byte(
            one for one in inputs.memory.values() if "index" not in one.evidence
        ),
    )


def effective_threshold(rules: Sequence[TableRule], table: Table, own: float) -> float:
    """Return the number of rows from which a table is due: by rule, else its own threshold."""
    rule = _rule(rules, table)
    if rule.threshold is None and rule.scale_factor is None:
        return own
    return (rule.threshold or 0) + (rule.scale_factor or 0.0) * table.tuples


def _rule(rules: Sequence[TableRule], table: Table) -> TableRule:
    """Return one rule with the first set value of each field."""
    meant = [rule for rule in rules if rule.table.matches(table.relation)]
    if len(meant) < 2:  # noqa: PLR2004 - nothing to choose from
        if meant:
            return meant[0]
        return _NO_RULE
    configured = {
        name: value for rule in reversed(meant) for name, value in rule if value is not None
    }
    return _NO_RULE.model_copy(update=configured)


def predict_seconds(before: Memory | None, size: int, seconds_per_byte: float) -> float:
    """Return the predicted duration of an object of `size` bytes, with a margin."""
    if before is None:
        return UNSURE * seconds_per_byte * size
    return MARGIN * before.seconds * max(1.0, size / before.bytes if before.bytes else 1.0)


def seconds_per_byte(memory: Iterable[Memory]) -> float:
    """Return the average rate of past steps; small objects are left out."""
    known = [before for before in memory if before.bytes >= LEAST_BYTES]
    if known:
        return sum(before.seconds for before in known) / sum(before.bytes for before in known)
    return 0.0


def _table(row: dict[str, Any]) -> Table:
    relation = Relation(row.pop("schema"), row.pop("name"))
    return Table(relation=relation, **row)
