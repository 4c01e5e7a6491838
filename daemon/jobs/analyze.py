"""ANALYZE where statistics are stale or missing; the partitioned parents too, which autovacuum leaves to nobody."""

from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from daemon.jobs.job import Job, Looking, Scope, effect
from daemon.jobs.tables import Observation, Table, look
from postgres.selection import any_matches
from postgres.statement import Statement
from postgres.step import Step
from postgres.verify import Analyzed
from postgres.window import UNLIMITED

_ONLY_SINCE = 180000
DAY = 86400.0


def observe(looking: Looking) -> Observation:
    """Look at all tables but those to leave alone."""
    options = looking.config.jobs.analyze
    older = options.older_than.total_seconds() if options.older_than else UNLIMITED
    return replace(look(looking, options), older_than=older)


def plan(seen: Observation) -> Sequence[Step]:
    """Neediest first: never analyzed, then by how far the changes are over the table's own threshold."""
    ours = [table for table in seen.tables if not table.system]
    wanted = [(need, why, table) for table in ours if (found := _need(table, seen)) for need, why in [found]]
    only = seen.version >= _ONLY_SINCE
    covered = set() if only else {table.oid for _, _, table in wanted if table.partitioned}
    wanted.sort(key=lambda item: (-item[0], item[2].relation))
    return [_step(table, why, seen, only=only) for _, why, table in wanted if table.root not in covered]


def _need(table: Table, seen: Observation) -> tuple[float, str] | None:
    if table.unknown:
        return (float("inf"), "never analyzed") if table.bytes else None
    if not table.partitioned:
        changed = float(table.modified)
    else:
        before = seen.memory.get(str(table.relation))
        if before is None and table.recent:
            return None
        known = int(before.evidence.get("changes", 0)) if before else 0
        changed = float(table.changes - known if table.changes >= known else table.changes)
    if changed <= table.analyze_threshold:
        ago = table.analyzed_ago or 0.0
        old = ago > seen.older_than and changed > 0
        return (0.0, f"statistics {ago / DAY:.0f} days old, {changed:.0f} rows changed since") if old else None
    return changed / max(
        table.analyze_threshold, 1
    ), f"{changed:.0f} rows changed, threshold {table.analyze_threshold:.0f}"


def _step(table: Table, why: str, seen: Observation, *, only: bool) -> Step:
    command = sql.SQL("ANALYZE ONLY {}") if table.partitioned and only else sql.SQL("ANALYZE {}")
    refused = seen.refused(table)
    return Statement(
        name="analyze",
        object=str(table.relation),
        why=f"{why}; {refused}" if refused else why,
        lock="SHARE UPDATE EXCLUSIVE",
        command=command.format(table.relation.identifier()),
        worked=Analyzed(table.oid),
        refused=refused,
        bytes=table.bytes,
        predicted_seconds=seen.predicted(table),
        sure=str(table.relation) in seen.memory,
        overrun=any_matches(seen.overrun, table.relation),
        evidence={"changes": table.changes} if table.partitioned else {},
    )


JOB = Job(
    name="analyze",
    summary="ANALYZE where statistics are stale or missing, partitioned parents too",
    scopes=(Scope.DATABASE,),
    observe=observe,
    plan=plan,
    judge=effect("analyze", cures="stale_statistics"),
)
