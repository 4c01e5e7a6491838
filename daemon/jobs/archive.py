"""Old rows move to verified files, or to another table: none is lost, none is there twice."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from archive import ledger
from archive.descent import opened
from archive.expiry import Expiry, Stale, due
from archive.manifest import Columns, Writer
from archive.partition_to_file import PartitionToFile
from archive.source import Source, Wish, look, with_partitions
from archive.to_file import ToFile
from archive.to_table import ToTable
from archive.volume import Shelf
from daemon.config.jobs import ArchivedTable
from daemon.config.model import Config
from daemon.config.values import in_words
from daemon.jobs.job import Job, Looking, Scope, effect
from daemon.jobs.leaving import partition_why, rows_why
from daemon.report.words import size
from postgres.connection import Session
from postgres.identifiers import Relation
from postgres.partitions import Partition
from postgres.refusal import Refusal
from postgres.step import Step
from postgres.trust import ours
from postgres.witness import ledgered

COPIED_PER_SECOND = 30_000_000
"""Bytes of a partition: a guess on the safe side."""
NO_LEDGER = (
    "sereno.archive_batch, which says what was archived, is missing or strange; run: sereno install {} --admin DSN"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A listed table, where its old rows are to go, and the month that it is."""

    source: Source
    shelf: Shelf
    shelves: tuple[Shelf, ...]
    """Of its children."""
    month: str
    to: Relation | None = None
    """The table that they go to; None: to files."""
    drop: bool = False
    """Archived partitions are dropped."""
    wrong: str = ""
    stale: Sequence[tuple[Shelf, Stale]] = ()
    """Files that the archive itself has kept long enough."""
    keep: timedelta | None = None


def observe(looking: Looking) -> Sequence[Seen]:
    """Look at the listed tables of this database, and at where they go."""
    session = looking.session
    assert session is not None  # noqa: S101 - the scope is the database
    wishes = [wish for wish in looking.config.jobs.archive.tables if wish.database in {None, looking.database}]
    good = not wishes or (ours(session, ledger.TABLE) and ledgered(session))
    missing = "" if good else NO_LEDGER.format(looking.database)
    return [_seen(looking, session, wish, missing) for wish in wishes]


def _seen(looking: Looking, session: Session, wish: ArchivedTable, missing: str) -> Seen:
    whole = wish.partitions != "rows"
    asked = Wish(wish.table, wish.column, wish.older_than, wish.epoch, wish.where, wish.children, whole)
    source = look(session, asked)
    if whole:
        with looking.open(looking.database) as reader:
            source = with_partitions(source, reader, looking.instance)
    else:
        source = with_partitions(source, session, looking.instance)
    shelf = _shelf(looking, session, wish, wish.table, source.columns)
    children = source.family.children if source.family else ()
    shelves = tuple(_shelf(looking, session, wish, child.table, child.columns) for child in children)
    wrong = source.wrong or missing or _unkeyed(source, wish)
    if wish.to.table:
        wrong = wrong or _unfit(session, source, wish.to.table)
    else:
        wrong = wrong or _full(wish.to.folder, looking.config)
    stale: list[tuple[Shelf, Stale]] = []
    if wish.keep is not None and not wish.hold and not missing:
        stale = [(one, old) for one in (shelf, *shelves) for old in due(session, one, wish.keep)]
    month, drop = looking.now.strftime("%Y-%m"), wish.partitions == "drop"
    return Seen(source, shelf, shelves, month, wish.to.table, drop, wrong, stale, wish.keep)


def _shelf(looking: Looking, session: Session, wish: ArchivedTable, table: Relation, columns: Columns) -> Shelf:
    facts = session.facts
    database = (facts.system_identifier, facts.database_oid, looking.database)
    return Shelf(wish.to.folder, Writer(looking.instance, *database, table.schema, table.name), columns)


def _unfit(session: Session, source: Source, to: Relation) -> str:
    """Say what of the rows the other table cannot take as it is."""
    if wrong := ledger.unfit(session, source.wish.table, to):
        return f"{to} is no place for archived rows: {wrong}"
    there = ledger.columns(session, to, [name for name, _ in source.columns])
    lacking = [f"{name} {kind}" for name, kind in source.columns if (name, kind) not in there]
    return f"{to} does not fit: it has no {', '.join(lacking)}" if lacking else ""


def _unkeyed(source: Source, wish: ArchivedTable) -> str:
    bare = [str(child.table) for child in (source.family.children if source.family else ()) if not child.keyed]
    if wish.key == "ctid" or (source.wish.whole and not source.some) or (source.keyed and not bare):
        return ""
    cure = 'so nobody could tell its rows apart again; if that is meant: key = "ctid"'
    return f"{', '.join(bare) or 'it'} has no unique key, {cure}"


def _full(folder: str, config: Config) -> str:
    """Say what is wrong with the archive's folder: it is not there, not safe, or its disk is nearly full."""
    try:
        try:
            state = _disk(folder)
        except FileNotFoundError:  # it is made when something goes there
            state = _disk(str(PurePosixPath(folder).parent))
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    free = state.f_bavail / state.f_blocks if state.f_blocks else 1.0
    if free < config.governor.free_disk:
        return f"{folder}: only {free:.1%} of its disk are free (governor.free_disk)"
    return ""


def _disk(folder: str) -> os.statvfs_result:
    with opened(folder) as descriptor:
        return os.fstatvfs(descriptor)


def plan(seen: Sequence[Seen]) -> Sequence[Step]:
    """In the order of the configuration; nothing where nothing is old enough."""
    steps: list[Step] = []
    for one in seen:
        steps += [_expiry(one.keep, shelf, stale) for shelf, stale in one.stale if one.keep]
        expired = one.source.expired
        if one.wrong or expired is None:
            steps.append(Refusal("archive", str(one.source.wish.table), one.wrong))
            continue
        steps += [_whole(one, part) for part in one.source.partitions]
        if one.source.some:
            why = f"{rows_why(one.source)}; to "
            if one.to:
                columns, writer = one.shelf.columns, one.shelf.writer
                steps.append(ToTable(expired, one.to, columns, writer, f"{why}{one.to}"))
            else:
                why += one.shelf.destination
                steps.append(ToFile(expired, one.shelf, one.month, why, one.source.family, one.shelves))
    return steps


def _expiry(keep: timedelta, shelf: Shelf, stale: Stale) -> Step:
    why = f"archived until {stale.last}, kept for {in_words(keep)}; {stale.rows} rows, {size(stale.bytes)}"
    return Expiry(shelf, stale, keep, why)


def _whole(seen: Seen, part: Partition) -> Step:
    why = partition_why(part, seen.source.wish.age)
    if part.wrong:
        return Refusal("archive", str(part.table), part.wrong)
    why, instance = f"{why}; to {seen.shelf.destination}", seen.shelf.writer.instance
    seconds = part.bytes / COPIED_PER_SECOND
    return PartitionToFile(part, seen.shelf, seen.month, instance, seen.drop, why, predicted_seconds=seconds)


def wanted(config: Config, _scope: Scope) -> bool:
    """Where a table is listed."""
    return bool(config.jobs.archive.tables)


JOB = Job(
    name="archive",
    summary="move old rows to verified files, or to another table",
    scopes=(Scope.DATABASE,),
    observe=observe,
    plan=plan,
    judge=effect("archive"),
    wanted=wanted,
    login="data",
    deletes=True,
)
