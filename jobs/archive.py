"""Old rows move to verified files, or to another table: none is lost, none is there twice."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from domain.task import Scope
from domain.units import format_duration, format_size
from execution.skipped import Refusal
from execution.step import Step
from jobs.expiry_reasons import partition_why, rows_why
from jobs.job import Job, JobInputs, Settings, action_judge
from jobs.option_types import Column, Condition, Destination, Epoch, Model, Retention, Table
from postgres.fencing.ownership import ours
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import Shelf
from retention.archive.expire_files import Expiry, Stale, due
from retention.archive.manifest import Writer
from retention.archive.partition_to_file import PartitionToFile
from retention.archive.to_file import ToFile
from retention.archive.to_table import ToTable
from retention.expiring_table import Source, Wish, look, with_partitions
from retention.files.safe_open import opened
from retention.partitions.expired import Partition
from retention.rows.tamper_check import ledgered


class ArchivedTable(Model):
    """Rows of a table that are archived when they are old."""

    table: Table = Field(description="As in SQL, with its schema.")
    column: Column = Field(description="Its age, as in [[jobs.log_cleanup.tables]].")
    epoch: Epoch | None = Field(None, description="What an integer counts since 1970.")
    older_than: Retention = Field(description="Older rows are archived.")
    where: Condition | None = Field(None, description="Only where this holds, as in [[jobs.log_cleanup.tables]].")
    children: tuple[Table, ...] = Field(
        (), description="Tables whose rows leave with those that they refer to by foreign key, in one transaction."
    )
    to: Destination = Field(description="A folder (file://…), or a table of the same database (table:schema.name).")
    keep: Retention | None = Field(
        None, description="A file leaves the archive when its last batch was archived so long ago; never if not said."
    )
    hold: bool = Field(default=False, description="Legal hold: nothing leaves the archive, whatever `keep` says.")
    key: Literal["ctid"] | None = Field(
        None, description='"ctid" archives a table though no unique key tells its rows apart.'
    )
    partitions: Literal["rows", "detach", "drop"] = Field(
        "rows",
        description="What is old leaves row by row; or partitions as a whole: detached, then archived; or dropped then "
        "as well.",
    )
    database: str | None = Field(None, description="Which database it is in; every one where it is not said.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.partitions != "rows" and self.where is not None:
            raise ValueError('a whole partition leaves, whatever `where` says: leave it out, or partitions = "rows"')
        if self.partitions != "rows" and self.to.table:
            raise ValueError('whole partitions go to files only: to = "file://…", or partitions = "rows"')
        if self.to.table and self.keep is not None:
            raise ValueError(f"keep is for files; list {self.to.table} in jobs.log_cleanup.tables instead")
        if self.children and (self.to.table or self.partitions != "rows"):
            raise ValueError('children go to files only, and row by row: to = "file://…", partitions = "rows"')
        return self


class Options(Model):
    """Old rows that move to files, or to other tables."""

    tables: tuple[ArchivedTable, ...] = ()

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        """Entries whose rows stand in the same files keep them for the same time: a file leaves as a whole."""
        for one, other in combinations(self.tables, 2):
            shared = {one.table, *one.children} & {other.table, *other.children}
            apart = None not in {one.database, other.database} and one.database != other.database
            if shared and not apart and one.to == other.to and (one.keep, one.hold) != (other.keep, other.hold):
                table = min(map(str, shared))
                cure = "give both entries the same keep and hold, or another place"
                raise ValueError(f"tables: rows of {table} go to the same files twice; {cure}")
        return self


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


def observe(inputs: JobInputs) -> Sequence[Seen]:
    """Look at the listed tables of this database, and at where they go."""
    session = inputs.opened
    wishes = [wish for wish in inputs.options.tables if wish.database in {None, inputs.database}]
    good = not wishes or (ours(session, ledger.TABLE) and ledgered(session))
    missing = "" if good else NO_LEDGER.format(inputs.database)
    return [_seen(inputs, session, wish, missing) for wish in wishes]


def _seen(inputs: JobInputs, session: Session, wish: ArchivedTable, missing: str) -> Seen:
    whole = wish.partitions != "rows"
    asked = Wish(wish.table, wish.column, wish.older_than, wish.epoch, wish.where, wish.children, whole)
    source = look(session, asked)
    if whole:
        with inputs.open(inputs.database) as reader:
            source = with_partitions(source, reader, inputs.instance)
    else:
        source = with_partitions(source, session, inputs.instance)
    shelf = _shelf(inputs, session, wish, wish.table, source.columns)
    children = source.family.children if source.family else ()
    shelves = tuple(_shelf(inputs, session, wish, child.table, child.columns) for child in children)
    wrong = source.wrong or missing or _unkeyed(source, wish)
    if wish.to.table:
        wrong = wrong or _unfit(session, source, wish.to.table)
    else:
        wrong = wrong or _full(wish.to.folder, inputs.settings)
    stale: list[tuple[Shelf, Stale]] = []
    if wish.keep is not None and not wish.hold and not missing:
        stale = [(one, old) for one in (shelf, *shelves) for old in due(session, one, wish.keep)]
    month, drop = inputs.now.strftime("%Y-%m"), wish.partitions == "drop"
    return Seen(source, shelf, shelves, month, wish.to.table, drop, wrong, stale, wish.keep)


def _shelf(inputs: JobInputs, session: Session, wish: ArchivedTable, table: Relation, columns: ColumnTypes) -> Shelf:
    facts = session.facts
    database = (facts.system_identifier, facts.database_oid, inputs.database)
    return Shelf(wish.to.folder, Writer(inputs.instance, *database, table.schema, table.name), columns)


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


def _full(folder: str, settings: Settings) -> str:
    """Say what is wrong with the archive's folder: it is not there, not safe, or its disk is nearly full."""
    try:
        try:
            state = _disk(folder)
        except FileNotFoundError:  # it is made when something goes there
            state = _disk(str(PurePosixPath(folder).parent))
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    free = state.f_bavail / state.f_blocks if state.f_blocks else 1.0
    if free < settings.free_disk:
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
    why = f"archived until {stale.last}, kept for {format_duration(keep)}; {stale.rows} rows, {format_size(stale.bytes)}"
    return Expiry(shelf, stale, keep, why)


def _whole(seen: Seen, part: Partition) -> Step:
    why = partition_why(part, seen.source.wish.age)
    if part.wrong:
        return Refusal("archive", str(part.table), part.wrong)
    why, instance = f"{why}; to {seen.shelf.destination}", seen.shelf.writer.instance
    seconds = part.bytes / COPIED_PER_SECOND
    return PartitionToFile(part, seen.shelf, seen.month, instance, seen.drop, why, predicted_seconds=seconds)


def wanted(options: Options, _scope: Scope) -> bool:
    """Where a table is listed."""
    return bool(options.tables)


JOB = Job(
    name="archive",
    summary="move old rows to verified files, or to another table",
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=action_judge("archive"),
    wanted=wanted,
    login="data",
    deletes=True,
)
