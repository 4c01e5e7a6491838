"""The job `vacuum`: VACUUM where a table's own threshold asks for it, then indexes.

ANALYZE runs in the same command where it is due too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from psycopg import sql
from pydantic import Field

from domain.place import Place
from domain.task import Scope
from execution.control import Speed
from execution.step import Outcome, Step
from jobs import analyze, reindex
from jobs.job import Job, JobInputs, Settings, Verdict, action_judge
from jobs.reindex import Indexes
from jobs.reindex import Options as ReindexOptions
from jobs.steps.postconditions import Unverified, VacuumDue, Vacuumed
from jobs.steps.statement import Statement
from jobs.steps.vacuum_group import VacuumGroup
from jobs.table_statistics import (
    Table,
    TableOptions,
    TableStatistics,
    effective_threshold,
    read_tables,
)
from postgres.catalog.xmin_horizon import HorizonHolder, oldest_holder, still_held_by


class Options(TableOptions):
    """VACUUM of the tables over their own effective threshold, wraparound first; then indexes."""

    parallel: int = Field(
        2, ge=1, le=16, description="Number of sessions that vacuum side by side in one database."
    )
    reindex: ReindexOptions = ReindexOptions()


SMALL_BYTES = 8 * 1024**2
SMALL_SECONDS = 2.0
GROUP_TABLES = 100
GROUP_TABLES_BEFORE_16 = 500
"""Before 16 each command ends with a scan of every table's age."""
GROUP_BYTES = 64 * 1024**2
MANY_MORE = 1.5
_STATISTICS_APART_SINCE = 160000
_STANDBYS = sql.SQL(
    """
        SELECT EXISTS (SELECT
        FROM pg_catalog.pg_stat_replication
        WHERE state IS DISTINCT
        FROM 'backup') AS standbys
    """
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table that is due, with reason and options; urgent ones need FREEZE."""

    table: Table
    why: str
    urgent: float
    """Its age as a multiple of the limit; 0 if it is below."""
    analyze: bool
    expected_ineffective: str = ""
    """The holder of the horizon that makes it pointless."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The tables, and facts about the server that affect how they are vacuumed."""

    tables: TableStatistics
    holder: HorizonHolder | None = None
    """The oldest holder of the xmin horizon."""
    standbys: bool = False
    indexes: Indexes = field(default_factory=Indexes)
    analysis: analyze.Options = field(default_factory=analyze.Options)
    """The options of ANALYZE, which a VACUUM may include."""


def observe(inputs: JobInputs) -> Observation:
    """Read the selected tables and the xmin horizon."""
    session = inputs.opened
    options = inputs.options
    standbys = session.rows(_STANDBYS)[0]["standbys"]
    analysis = inputs.settings.jobs["analyze"]
    return Observation(
        read_tables(inputs, options),
        oldest_holder(session),
        standbys,
        reindex.read_indexes(inputs, options.selection, options.reindex),
        analysis,
    )


def plan(seen: Observation) -> Sequence[Step]:
    """Plan wraparound first, then large tables by dead bytes, groups of small ones, indexes."""
    wanted = [one for table in seen.tables.tables if (one := _wanted(table, seen))]
    urgent = sorted(
        (one for one in wanted if one.urgent), key=lambda one: (-one.urgent, one.table.relation)
    )
    usual = sorted(
        (one for one in wanted if not one.urgent),
        key=lambda one: (-one.table.dead_bytes, one.table.relation),
    )
    steps = [*_steps(urgent, seen), *_steps(usual, seen)]
    if any(one.table.allowed for one in wanted) and seen.tables.version >= _STATISTICS_APART_SINCE:
        steps.append(_database_statistics())
    return [*steps, *reindex.plan(seen.indexes)]


def _wanted(table: Table, seen: Observation) -> _Wanted | None:
    """Return the first reason that holds. Parents and unowned system tables are left out."""
    if table.partitioned or (table.system and not table.allowed):
        return None
    analyze = _stale(table, seen.analysis)
    for unit, value, limit in (
        ("transactions", table.age, table.age_limit),
        ("multixacts", table.members, table.members_limit),
    ):
        if value >= limit:
            why = (
                f"its oldest row is {value} {unit} old: frozen before autovacuum has to, at "
                f"{limit:.0f}"
            )
            return _Wanted(
                table, why, value / max(limit, 1), analyze, _expected_ineffective(table, seen)
            )
    for what, count, threshold in (
        ("dead rows", table.dead, seen.tables.effective_threshold(table, table.dead_threshold)),
        ("dead TOAST rows", table.toast_dead, table.toast_threshold),
        ("rows inserted", table.inserted, table.inserted_threshold),
        ("TOAST rows inserted", table.toast_inserted, table.toast_inserted_threshold),
    ):
        if threshold is not None and count > threshold:
            return _Wanted(
                table,
                f"{what}: {count}, threshold {threshold:.0f}",
                0.0,
                analyze,
                _expected_ineffective(table, seen),
            )
    return None


def _stale(table: Table, analysis: analyze.Options) -> bool:
    """Return whether the job analyze would be due too."""
    if table.system or not analysis.selection.includes_table(table.relation):
        return False
    threshold = effective_threshold(analysis.tables, table, table.analyze_threshold)
    return table.modified > threshold or (table.unknown and table.bytes > 0)


def _expected_ineffective(table: Table, seen: Observation) -> str:
    """Return the holder of the horizon that made the last VACUUM ineffective, if it still stands.

    Rows dead since then stay as well, unless their transactions were rolled back: many more dead
    rows cause another try.
    """
    before = seen.tables.memory.get(str(table.relation))
    if before is None or seen.holder is None or before.evidence.get("horizon") != seen.holder.xid:
        return ""
    if table.dead <= MANY_MORE * int(before.evidence.get("dead", 0)):
        return str(seen.holder)
    return ""


def _steps(wanted: Sequence[_Wanted], seen: Observation) -> Iterator[Step]:
    """Yield large tables one by one, small ones in groups with equal options."""
    yield from (_statement(one, seen) for one in wanted if not _small(one, seen))
    by_speed: dict[tuple[bool, Speed | None], list[_Wanted]] = {}
    for one in wanted:
        if _small(one, seen):
            by_speed.setdefault((not one.analyze, seen.tables.rule(one.table).pace), []).append(one)
    for _, together in sorted(by_speed.items(), key=lambda item: str(item[0])):
        for members in _groups(together, seen.tables.version):
            yield _group(members, seen) if len(members) > 1 else _statement(members[0], seen)


def _groups(wanted: Sequence[_Wanted], version: int) -> Iterator[list[_Wanted]]:
    """Split where a command would have too many tables or too much to read."""
    most = GROUP_TABLES if version >= _STATISTICS_APART_SINCE else GROUP_TABLES_BEFORE_16
    members: list[_Wanted] = []
    size = 0
    for one in wanted:
        size += one.table.bytes
        if members and (len(members) == most or size > GROUP_BYTES):
            yield members
            members, size = [], one.table.bytes
        members.append(one)
    if members:
        yield members


def _small(wanted: _Wanted, seen: Observation) -> bool:
    """Return whether a table may join a group: it is small and needs nothing of its own."""
    table, tables = wanted.table, seen.tables
    return (
        not (wanted.expected_ineffective or tables.skip(table) or table.failing)
        and table.bytes < SMALL_BYTES
        and tables.predict_seconds(table) < SMALL_SECONDS
    )


def _group(wanted: Sequence[_Wanted], seen: Observation) -> VacuumGroup:
    members = tuple(_statement(one, seen) for one in wanted)
    command = _command(wanted, seen, together=True)
    return VacuumGroup.of(
        members, command, Vacuumed(tuple(_due(one.table, seen) for one in wanted))
    )


def _statement(wanted: _Wanted, seen: Observation) -> Statement:
    table, tables = wanted.table, seen.tables
    name, rule = str(table.relation), tables.rule(table)
    skip = None if wanted.urgent and table.allowed else tables.skip(table)
    return Statement(
        name="vacuum",
        object=name,
        why="; ".join(
            filter(None, (wanted.why, skip.reason if skip else "", wanted.expected_ineffective))
        ),
        lock="SHARE UPDATE EXCLUSIVE",
        command=_command([wanted], seen),
        postcondition=Vacuumed((_due(table, seen),)),
        urgent=wanted.urgent > 0,
        skip=skip,
        ineffective_reason=partial(still_held_by, xid=seen.holder.xid)
        if wanted.expected_ineffective and seen.holder
        else None,
        bytes=table.bytes,
        predicted_seconds=tables.predict_seconds(table),
        has_history=name in tables.memory,
        overrun=bool(rule.overrun),
        speed=rule.pace,
    )


def _command(
    wanted: Sequence[_Wanted], seen: Observation, *, together: bool = False
) -> sql.Composed:
    """Return the command; options not set here are left to the server or the pace."""
    first = wanted[0]
    failing = first.urgent > 0 and first.table.failing
    options = {
        "SKIP_LOCKED": together,
        "SKIP_DATABASE_STATS": seen.tables.version >= _STATISTICS_APART_SINCE,
        "FREEZE": first.urgent > 0,
        "INDEX_CLEANUP OFF": failing,
        "TRUNCATE OFF": failing or (seen.standbys and not _is_half_empty(wanted)),
        "ANALYZE": first.analyze,
    }
    verb = _verb(tuple(option for option, chosen in options.items() if chosen))
    names = [one.table.relation.identifier() for one in wanted]
    return sql.Composed([verb, names[0] if len(names) == 1 else sql.SQL(", ").join(names)])


def _is_half_empty(wanted: Sequence[_Wanted]) -> bool:
    """Return whether truncation is worth its lock, which cancels queries on standbys."""
    return any(2 * one.table.dead_bytes >= one.table.bytes >= SMALL_BYTES for one in wanted)


@cache
def _verb(options: tuple[str, ...]) -> sql.Composable:
    if not options:
        return sql.SQL("VACUUM ")
    return sql.SQL("VACUUM ({}) ").format(sql.SQL(", ").join(sql.SQL(option) for option in options))


def _due(table: Table, seen: Observation) -> VacuumDue:
    dead = seen.tables.effective_threshold(table, table.dead_threshold)
    return VacuumDue(table.oid, dead, table.toast_threshold, table.age_limit, table.members_limit)


def _database_statistics() -> Statement:
    """Return one statement that advances the database's own age after all tables."""
    return Statement(
        name="vacuum",
        object="database statistics",
        why="once, after all tables",
        lock="",
        command=sql.SQL("VACUUM (ONLY_DATABASE_STATS)").format(),
        postcondition=Unverified(),
        alone=True,
    )


def lanes(options: Options, settings: Settings) -> int:
    """Return the configured number of sessions, or one for a gentle pace."""
    if settings.pace == "gentle":
        return 1
    return options.parallel


_VACUUMED = action_judge(
    "vacuum",
    cures="dead_tuples",
    remedy="end the holder of the xmin horizon, then: sereno now vacuum",
)
_REBUILT = action_judge(
    "vacuum", cures="invalid_index", remedy="correct the cause in the reason, or drop the index"
)


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge VACUUM and index steps by their own remedies."""
    return (_VACUUMED if step.name == "vacuum" else _REBUILT)(step, outcome, place)


JOB = Job(
    name="vacuum",
    summary="VACUUM where a table's own effective trigger asks for it; wraparound first; then "
    "indexes",
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    lanes=lanes,
    logins=("maintain", "owner"),
)
