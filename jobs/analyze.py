"""The job `analyze`: ANALYZE where statistics are stale or missing.

Partitioned parents are included; autovacuum never analyzes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg import sql
from pydantic import Field

from domain.cause import Cause
from domain.memory import Memory
from domain.options import Retention
from domain.task import Scope
from execution.skipped import SkippedStep
from execution.step import Step
from execution.window import UNLIMITED
from jobs.job import Job, JobInputs, action_judge
from jobs.steps.postconditions import Analyzed
from jobs.steps.statement import Statement
from jobs.table_statistics import Table, TableOptions, TableStatistics, read_tables
from postgres.session import Session
from postgres.statement_file import read_statement


class Options(TableOptions):
    """ANALYZE where statistics are stale or missing, partitioned parents too."""

    older_than: Retention | None = Field(
        None,
        description="Also analyze tables with statistics older than this and any change since.",
    )


_ONLY_SINCE = 180000
_INHERITED_SINCE = 150000
DAY = 86400.0
UNSEEN = "no privilege: missing statistics are read from pg_statistic; sereno install grants it"

_MISSING = read_statement("jobs", "missing_statistics")
_BUILT = sql.SQL("AND num_nonnulls(d.stxdndistinct, d.stxddependencies, d.stxdmcv, d.stxdexpr) > 0")
"""Before 15 CREATE STATISTICS itself makes the row, without any value."""
_INHERIT = sql.SQL("AND d.stxdinherit = t.inherit")
_SEES = sql.SQL(
    "SELECT has_table_privilege('pg_catalog.pg_statistic', 'SELECT')"
    " AND has_table_privilege('pg_catalog.pg_statistic_ext_data', 'SELECT') AS sees"
)


@dataclass(frozen=True, slots=True)
class Observation:
    """The tables, and problems of their statistics other than changed rows."""

    tables: TableStatistics
    missing: Mapping[int, Sequence[str]] | None
    """Columns and expressions without statistics in analyzed tables; None if they cannot be read.
    """
    older_than: float = UNLIMITED
    """Statistics older than this many seconds are renewed if anything has changed."""


def observe(inputs: JobInputs) -> Observation:
    """Read all selected tables."""
    session, options = inputs.opened, inputs.options
    missing = _without(session, sql.SQL("true")) if session.rows(_SEES)[0]["sees"] else None
    older = options.older_than.total_seconds() if options.older_than else UNLIMITED
    return Observation(read_tables(inputs, options, list(missing or ())), missing, older)


def _without(session: Session, which: sql.Composable) -> Mapping[int, Sequence[str]]:
    """Return the columns and expressions without statistics by table oid."""
    inherit = _INHERIT if session.facts.version >= _INHERITED_SINCE else _BUILT
    rows = session.rows(_MISSING.format(inherit=inherit, which=which))
    return {row["oid"]: row["names"] for row in rows}


def _still_missing(session: Session, oid: int) -> Sequence[str]:
    """Return the names still without statistics after an ANALYZE; they cause no further one."""
    return _without(session, sql.SQL("oid = {}").format(sql.Literal(oid))).get(oid, ())


def plan(seen: Observation) -> Sequence[Step]:
    """Plan the most urgent first: never analyzed, then by changes relative to the threshold."""
    ours = [table for table in seen.tables.tables if not table.system]
    wanted = [
        (need, why, table)
        for table in ours
        if (found := _need(table, seen))
        for need, why in [found]
    ]
    only = seen.tables.version >= _ONLY_SINCE
    covered = set() if only else {table.oid for _, _, table in wanted if table.partitioned}
    wanted.sort(key=lambda item: (-item[0], item[2].relation))
    steps = [
        _step(table, why, seen, only=only) for _, why, table in wanted if table.root not in covered
    ]
    if seen.missing is not None:
        return steps
    return [
        *steps,
        SkippedStep(
            name="analyze", object="missing statistics", why=UNSEEN, cause=Cause.NO_PRIVILEGE
        ),
    ]


def _need(table: Table, seen: Observation) -> tuple[float, str] | None:
    before = seen.tables.memory.get(str(table.relation))
    if table.unknown:
        if table.bytes:
            return (float("inf"), "never analyzed")
        return None
    changed, trigger = (
        _changed(table, before),
        seen.tables.effective_threshold(table, table.analyze_threshold),
    )
    if changed > trigger:
        return changed / max(trigger, 1), f"{changed:.0f} rows changed, threshold {trigger:.0f}"
    missing = _missing(table, seen)
    if missing and missing != (before.evidence.get("missing") if before else None):
        return 1.0, f"statistics missing for {', '.join(missing)}"
    ago = table.analyzed_ago or 0.0
    old = ago > seen.older_than and changed > 0
    if old:
        return (0.0, f"statistics {ago / DAY:.0f} days old, {changed:.0f} rows changed since")
    return None


def _changed(table: Table, before: Memory | None) -> float:
    """Return the rows changed since the last ANALYZE; of a parent, since the last one by sereno."""
    if not table.partitioned:
        return float(table.modified)
    if before is None and table.recent:
        return 0.0
    known = 0
    if before:
        known = int(before.evidence.get("changes", 0))
    return float(table.changes - known if table.changes >= known else table.changes)


def _missing(table: Table, seen: Observation) -> list[str]:
    return list((seen.missing or {}).get(table.oid, ()))


def _step(table: Table, why: str, seen: Observation, *, only: bool) -> Step:
    command = sql.SQL("ANALYZE ONLY {}") if table.partitioned and only else sql.SQL("ANALYZE {}")
    skip, rule = seen.tables.skip(table), seen.tables.rule(table)
    return Statement(
        name="analyze",
        object=str(table.relation),
        why=f"{why}; {skip.reason}" if skip else why,
        lock="SHARE UPDATE EXCLUSIVE",
        command=command.format(table.relation.identifier()),
        postcondition=Analyzed(
            table.oid, partial(_still_missing, oid=table.oid) if _missing(table, seen) else None
        ),
        skip=skip,
        bytes=table.bytes,
        predicted_seconds=seen.tables.predict_seconds(table),
        has_history=str(table.relation) in seen.tables.memory,
        overrun=bool(rule.overrun),
        speed=rule.pace,
        evidence={"changes": table.changes} if table.partitioned else {},
    )


JOB = Job(
    name="analyze",
    summary="ANALYZE where statistics are stale or missing, partitioned parents too",
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=action_judge("analyze", cures="stale_statistics"),
)
