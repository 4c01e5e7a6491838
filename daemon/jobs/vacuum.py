"""VACUUM where a table's own effective trigger asks for it; with ANALYZE in the same command where that is due too."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from psycopg import sql

from daemon.config.model import Config
from daemon.jobs.job import Job, Looking, Scope, effect
from daemon.jobs.tables import Observation, Table, look
from postgres.group import Group
from postgres.selection import any_matches
from postgres.statement import Statement
from postgres.step import Step
from postgres.verify import Believed, Due, Vacuumed

SMALL_BYTES = 8 * 1024**2
SMALL_SECONDS = 2.0
GROUP_TABLES = 100
GROUP_TABLES_BEFORE_16 = 500
"""There each command ends with a look at every table of the database, to move its age forward."""
GROUP_BYTES = 64 * 1024**2
_STATISTICS_APART_SINCE = 160000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table that is due, why, and with which options. Wraparound is urgent, and needs FREEZE."""

    table: Table
    why: str
    urgent: float
    """How far its age is over the limit; 0 where it is not."""
    analyze: bool


def observe(looking: Looking) -> Observation:
    """Look at all tables but those to leave alone."""
    return look(looking, looking.config.jobs.vacuum)


def plan(seen: Observation) -> Sequence[Step]:
    """Wraparound first, then the large by their dead bytes, then the small ones together."""
    wanted = [one for table in seen.tables if (one := _wanted(table))]
    urgent = sorted((one for one in wanted if one.urgent), key=lambda one: (-one.urgent, one.table.relation))
    usual = sorted(
        (one for one in wanted if not one.urgent), key=lambda one: (-one.table.dead_bytes, one.table.relation)
    )
    steps = [*_steps(urgent, seen), *_steps(usual, seen)]
    if any(one.table.allowed for one in wanted) and seen.version >= _STATISTICS_APART_SINCE:
        steps.append(_database_statistics())
    return steps


def _wanted(table: Table) -> _Wanted | None:
    """Tell the first reason that holds. A parent has no rows; the system's that are not ours are autovacuum's."""
    if table.partitioned or (table.system and not table.allowed):
        return None
    analyze = table.modified > table.analyze_threshold or (table.unknown and table.bytes > 0)
    analyze = analyze and not table.system
    for unit, value, limit in (
        ("transactions", table.age, table.age_limit),
        ("multixacts", table.members, table.members_limit),
    ):
        if value >= limit:
            why = f"its oldest row is {value} {unit} old: frozen before autovacuum has to, at {limit:.0f}"
            return _Wanted(table, why, value / max(limit, 1), analyze)
    for what, count, threshold in (
        ("dead rows", table.dead, table.dead_threshold),
        ("dead TOAST rows", table.toast_dead, table.toast_threshold),
        ("rows inserted", table.inserted, table.inserted_threshold),
        ("TOAST rows inserted", table.toast_inserted, table.toast_inserted_threshold),
    ):
        if threshold is not None and count > threshold:
            return _Wanted(table, f"{what}: {count}, threshold {threshold:.0f}", 0.0, analyze)
    return None


def _steps(wanted: Sequence[_Wanted], seen: Observation) -> Iterator[Step]:
    """Yield the large one by one; the small ones in commands of many, those of the same options together."""
    yield from (_statement(one, seen) for one in wanted if not _small(one.table, seen))
    for analyze in (True, False):
        alike = [one for one in wanted if _small(one.table, seen) and one.analyze is analyze]
        for members in _groups(alike, seen.version):
            yield _group(members, seen) if len(members) > 1 else _statement(members[0], seen)


def _groups(wanted: Sequence[_Wanted], version: int) -> Iterator[list[_Wanted]]:
    """Cut where a command would have too many tables, or too much to read."""
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


def _small(table: Table, seen: Observation) -> bool:
    return not seen.refused(table) and table.bytes < SMALL_BYTES and seen.predicted(table) < SMALL_SECONDS


def _group(wanted: Sequence[_Wanted], seen: Observation) -> Group:
    members = tuple(_statement(one, seen) for one in wanted)
    command = _command(wanted, seen.version, together=True)
    return Group(members, command, Vacuumed(tuple(_due(one.table) for one in wanted)))


def _statement(wanted: _Wanted, seen: Observation) -> Statement:
    table = wanted.table
    name = str(table.relation)
    refused = "" if wanted.urgent and table.allowed else seen.refused(table)
    return Statement(
        name="vacuum",
        object=name,
        why=f"{wanted.why}; {refused}" if refused else wanted.why,
        lock="SHARE UPDATE EXCLUSIVE",
        command=_command([wanted], seen.version),
        worked=Vacuumed((_due(table),)),
        urgent=wanted.urgent > 0,
        refused=refused,
        bytes=table.bytes,
        predicted_seconds=seen.predicted(table),
        sure=str(table.relation) in seen.memory,
        overrun=any_matches(seen.overrun, table.relation),
    )


def _command(wanted: Sequence[_Wanted], version: int, *, together: bool = False) -> sql.Composed:
    first = wanted[0]
    options = {
        "SKIP_LOCKED": together,
        "SKIP_DATABASE_STATS": version >= _STATISTICS_APART_SINCE,
        "FREEZE": first.urgent > 0,
        "ANALYZE": first.analyze,
    }
    verb = _verb(tuple(option for option, chosen in options.items() if chosen))
    names = [one.table.relation.identifier() for one in wanted]
    return sql.Composed([verb, names[0] if len(names) == 1 else sql.SQL(", ").join(names)])


@cache
def _verb(options: tuple[str, ...]) -> sql.Composable:
    if not options:
        return sql.SQL("VACUUM ")
    return sql.SQL("VACUUM ({}) ").format(sql.SQL(", ").join(sql.SQL(option) for option in options))


def _due(table: Table) -> Due:
    return Due(table.oid, table.dead_threshold, table.toast_threshold, table.age_limit, table.members_limit)


def _database_statistics() -> Statement:
    """What each VACUUM would do at its end, once for all: move the database's own age forward."""
    return Statement(
        name="vacuum",
        object="database statistics",
        why="once, after all tables",
        lock="",
        command=sql.SQL("VACUUM (ONLY_DATABASE_STATS)").format(),
        worked=Believed(),
        alone=True,
    )


def lanes(config: Config) -> int:
    """As many sessions as the configuration says."""
    return config.jobs.vacuum.parallel


JOB = Job(
    name="vacuum",
    summary="VACUUM where a table's own effective trigger asks for it; wraparound first",
    scopes=(Scope.DATABASE,),
    observe=observe,
    plan=plan,
    judge=effect("vacuum", cures="dead_tuples", remedy="end what holds the rows back, then: sereno now vacuum"),
    lanes=lanes,
)
