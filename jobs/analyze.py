"""ANALYZE where statistics are stale or missing; the partitioned parents too, which autovacuum leaves to nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources

from psycopg import sql
from pydantic import Field

from domain.memory import Memory
from domain.task import Scope
from execution.skipped import Refusal
from execution.step import Step
from execution.window import UNLIMITED
from jobs.job import Job, JobInputs, action_judge
from jobs.option_types import Retention
from jobs.steps.postconditions import Analyzed
from jobs.steps.statement import Statement
from jobs.table_statistics import Observation, Table, TableOptions, look
from postgres.session import Session


class Options(TableOptions):
    """ANALYZE where statistics are stale or missing, partitioned parents too."""

    older_than: Retention | None = Field(
        None, description="Also where they are older than this, and anything has changed since."
    )


_ONLY_SINCE = 180000
_INHERITED_SINCE = 150000
DAY = 86400.0
UNSEEN = "no privilege: which statistics are missing only a member of pg_read_all_data may see"

_MISSING = (resources.files("jobs") / "sql" / "missing_statistics.sql").read_text("utf-8")
_INHERIT = sql.SQL("AND d.stxdinherit = t.inherit")
_SEES = sql.SQL(
    "SELECT has_table_privilege('pg_catalog.pg_statistic', 'SELECT')"
    " AND has_table_privilege('pg_catalog.pg_statistic_ext_data', 'SELECT') AS sees"
)


@dataclass(frozen=True, slots=True)
class Stale:
    """The tables, and what may be wrong with their statistics beside changes."""

    tables: Observation
    missing: Mapping[int, Sequence[str]] | None
    """What has no statistics in tables that were analyzed: columns, expressions; None: it cannot be seen."""
    older_than: float = UNLIMITED
    """From what age on, in seconds, statistics are renewed if anything has changed."""


def observe(inputs: JobInputs) -> Stale:
    """Look at all tables but those to leave alone."""
    session, options = inputs.opened, inputs.options
    missing = _without(session, sql.SQL("true")) if session.rows(_SEES)[0]["sees"] else None
    older = options.older_than.total_seconds() if options.older_than else UNLIMITED
    return Stale(look(inputs, options, list(missing or ())), missing, older)


def _without(session: Session, which: sql.Composable) -> Mapping[int, Sequence[str]]:
    """Return what has no statistics, by the oid of its table."""
    inherit = _INHERIT if session.facts.version >= _INHERITED_SINCE else sql.SQL("")
    rows = session.rows(sql.SQL(_MISSING).format(inherit=inherit, which=which))
    return {row["oid"]: row["names"] for row in rows}


def _still_missing(session: Session, oid: int) -> Sequence[str]:
    """Look again after an ANALYZE: what it cannot make is no reason for another."""
    return _without(session, sql.SQL("oid = {}").format(sql.Literal(oid))).get(oid, ())


def plan(seen: Stale) -> Sequence[Step]:
    """Neediest first: never analyzed, then by how far the changes are over the table's own threshold."""
    ours = [table for table in seen.tables.tables if not table.system]
    wanted = [(need, why, table) for table in ours if (found := _need(table, seen)) for need, why in [found]]
    only = seen.tables.version >= _ONLY_SINCE
    covered = set() if only else {table.oid for _, _, table in wanted if table.partitioned}
    wanted.sort(key=lambda item: (-item[0], item[2].relation))
    steps = [_step(table, why, seen, only=only) for _, why, table in wanted if table.root not in covered]
    return (
        steps if seen.missing is not None else [*steps, Refusal("analyze", "missing statistics", UNSEEN, unseen=True)]
    )


def _need(table: Table, seen: Stale) -> tuple[float, str] | None:
    before = seen.tables.memory.get(str(table.relation))
    if table.unknown:
        return (float("inf"), "never analyzed") if table.bytes else None
    changed, trigger = _changed(table, before), seen.tables.trigger(table, table.analyze_threshold)
    if changed > trigger:
        return changed / max(trigger, 1), f"{changed:.0f} rows changed, threshold {trigger:.0f}"
    missing = _missing(table, seen)
    if missing and missing != (before.evidence.get("missing") if before else None):
        return 1.0, f"no statistics of {', '.join(missing)}"
    ago = table.analyzed_ago or 0.0
    old = ago > seen.older_than and changed > 0
    return (0.0, f"statistics {ago / DAY:.0f} days old, {changed:.0f} rows changed since") if old else None


def _changed(table: Table, before: Memory | None) -> float:
    """Return the rows that have changed since the last ANALYZE; a parent's leaves', since our last."""
    if not table.partitioned:
        return float(table.modified)
    if before is None and table.recent:
        return 0.0
    known = int(before.evidence.get("changes", 0)) if before else 0
    return float(table.changes - known if table.changes >= known else table.changes)


def _missing(table: Table, seen: Stale) -> list[str]:
    return list((seen.missing or {}).get(table.oid, ()))


def _step(table: Table, why: str, seen: Stale, *, only: bool) -> Step:
    command = sql.SQL("ANALYZE ONLY {}") if table.partitioned and only else sql.SQL("ANALYZE {}")
    refused, rule = seen.tables.refused(table), seen.tables.rule(table)
    return Statement(
        name="analyze",
        object=str(table.relation),
        why=f"{why}; {refused}" if refused else why,
        lock="SHARE UPDATE EXCLUSIVE",
        command=command.format(table.relation.identifier()),
        worked=Analyzed(table.oid, partial(_still_missing, oid=table.oid) if _missing(table, seen) else None),
        refused=refused,
        bytes=table.bytes,
        predicted_seconds=seen.tables.predicted(table),
        sure=str(table.relation) in seen.tables.memory,
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
