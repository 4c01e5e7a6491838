"""The job `archive`: moves old rows to verified files or to another table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from domain.cause import Cause
from domain.options import Model, Retention
from domain.place import may_meet, means
from domain.task import Scope
from domain.units import format_duration, format_size
from execution.skipped import SkippedStep
from execution.step import Step
from jobs.expiring_tables import read_in_domain
from jobs.expiry_reasons import partition_reason, rows_reason
from jobs.job import Job, JobInputs, Settings, action_judge
from jobs.option_types import Column, Condition, Destination, Epoch, Table
from postgres.fencing.ownership import is_installed_table
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import TableArchive
from retention.archive.expire_files import ExpiredFile, ExpireFile, expired_files
from retention.archive.manifest import Writer
from retention.archive.partition_to_file import ArchivePartition
from retention.archive.to_file import ArchiveToFile
from retention.archive.to_table import ArchiveToTable
from retention.expiring_table import ExpiringTable, TableRequest
from retention.files.safe_open import open_folder
from retention.partitions.expired import Partition
from retention.rows.dependents import receiving_reason
from retention.rows.row_batches import ExpiredRows
from retention.rows.tamper_check import has_ledger


class ArchivedTable(Model):
    """Rows of a table that are archived by age."""

    table: Table = Field(description="The table, as in SQL, with its schema.")
    column: Column = Field(description="The age column, as in [[jobs.log_cleanup.tables]].")
    epoch: Epoch | None = Field(None, description="Unit of an integer column, counted since 1970.")
    older_than: Retention = Field(description="Older rows are archived.")
    where: Condition | None = Field(
        None,
        description="Archive only rows that meet this condition, as in "
        "[[jobs.log_cleanup.tables]].",
    )
    children: tuple[Table, ...] = Field(
        (),
        description=(
            "Tables whose rows leave with the rows that they refer to by foreign key, in one "
            "transaction."
        ),
    )
    to: Destination = Field(
        description="A folder (file://…), or a table of the same database (table:schema.name)."
    )
    keep: Retention | None = Field(
        None,
        description="Delete an archive file this long after its last batch; by default never.",
    )
    hold: bool = Field(
        default=False, description="Legal hold: no file is deleted, whatever `keep` says."
    )
    key: Literal["ctid"] | None = Field(
        None, description='"ctid" archives a table that has no unique key.'
    )
    partitions: Literal["rows", "detach", "drop"] = Field(
        "rows",
        description="Archive row by row, or whole partitions: detached and archived (detach), or "
        "also dropped "
        "(drop).",
    )
    database: str | None = Field(
        None, description="The database of the table; by default every database that has it."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.partitions != "rows" and self.where is not None:
            raise ValueError(
                "whole partitions leave regardless of `where`: remove it, or set partitions "
                '= "rows"'
            )
        if self.partitions != "rows" and self.to.table:
            raise ValueError(
                'whole partitions can go to files only: to = "file://…", or partitions = "rows"'
            )
        if self.to.table and self.keep is not None:
            raise ValueError(
                f"keep is for files; list {self.to.table} in jobs.log_cleanup.tables instead"
            )
        if self.children and (self.to.table or self.partitions != "rows"):
            raise ValueError(
                'children can go to files only, row by row: to = "file://…", partitions = "rows"'
            )
        return self


class Options(Model):
    """Moves old rows to files or to other tables."""

    tables: tuple[ArchivedTable, ...] = ()

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        """Require the same keep and hold of entries that share files: a file expires as a whole."""
        for one, other in combinations(self.tables, 2):
            shared = {one.table, *one.children} & {other.table, *other.children}
            apart = not may_meet(one.database, other.database)
            if (
                shared
                and not apart
                and one.to == other.to
                and (one.keep, one.hold) != (other.keep, other.hold)
            ):
                table = min(map(str, shared))
                cure = "give both entries the same keep and hold, or different destinations"
                raise ValueError(
                    f"tables: two entries archive rows of {table} to the same files; {cure}"
                )
        return self


COPIED_PER_SECOND = 30_000_000
"""A conservative guess for whole partitions."""
NO_LEDGER = (
    "sereno.archive_batch, the archive ledger, is missing or was changed; run: sereno install {} "
    "--admin DSN"
)


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """A configured table, the destination of its old rows, and the current month."""

    source: ExpiringTable
    archive: TableArchive
    child_archives: tuple[TableArchive, ...]
    """The archives of the dependent tables."""
    month: str
    to: Relation | None = None
    """The destination table; None for files."""
    drop: bool = False
    """Whether archived partitions are dropped."""
    wrong: str = ""
    stale: Sequence[tuple[TableArchive, ExpiredFile]] = ()
    """Archive files older than `keep`."""
    keep: timedelta | None = None


def observe(inputs: JobInputs) -> Sequence[ObservedTable]:
    """Read the configured tables of this database and their destinations."""
    session = inputs.opened
    requests = [
        request for request in inputs.options.tables if means(request.database, inputs.database)
    ]
    good = not requests or (is_installed_table(session, ledger.TABLE) and has_ledger(session))
    missing = "" if good else NO_LEDGER.format(inputs.database)
    return [_seen(inputs, session, request, missing) for request in requests]


def _seen(
    inputs: JobInputs, session: Session, request: ArchivedTable, missing: str
) -> ObservedTable:
    """Read one table; `session` reads the catalog and the ledger."""
    whole = request.partitions != "rows"
    asked = TableRequest(
        request.table,
        request.column,
        request.older_than,
        request.epoch,
        request.where,
        request.children,
        whole,
    )
    source = read_in_domain(inputs, asked)
    archive = _archive(inputs, session, request, request.table, source.columns)
    children = source.dependents.children if source.dependents else ()
    earlier_archives = tuple(
        _archive(inputs, session, request, child.table, child.columns) for child in children
    )
    wrong = source.wrong or missing or _unkeyed(source, request)
    if not wrong and request.to.table:
        wrong = _target_mismatch(inputs, source, request.to.table)
    elif not wrong:
        wrong = _full(request.to.folder, inputs.settings)
    stale: list[tuple[TableArchive, ExpiredFile]] = []
    if not missing:
        stale = _stale_files(session, request, (archive, *earlier_archives))
    month, drop = inputs.now.strftime("%Y-%m"), request.partitions == "drop"
    return ObservedTable(
        source, archive, earlier_archives, month, request.to.table, drop, wrong, stale, request.keep
    )


def _stale_files(
    session: Session, request: ArchivedTable, archives: Sequence[TableArchive]
) -> list[tuple[TableArchive, ExpiredFile]]:
    """Return the archive files older than `keep`, unless they are held."""
    if request.keep is None or request.hold:
        return []
    keep = request.keep
    return [(one, old) for one in archives for old in expired_files(session, one, keep)]


def _archive(
    inputs: JobInputs,
    session: Session,
    request: ArchivedTable,
    table: Relation,
    columns: ColumnTypes,
) -> TableArchive:
    facts = session.facts
    database = (facts.system_identifier, facts.database_oid, inputs.database)
    return TableArchive(
        request.to.folder, Writer(inputs.instance, *database, table.schema, table.name), columns
    )


def _target_mismatch(inputs: JobInputs, source: ExpiringTable, to: Relation) -> str:
    """Return why the destination table cannot take the rows; empty if it can."""
    session = inputs.opened
    if wrong := ledger.mismatch(session, source.request.table, to):
        return f"{to} cannot receive archived rows: {wrong}"
    domain = inputs.trust_domains.of_table(to)
    if domain.domain.wrong or domain.login != source.login:
        reason = domain.domain.wrong or "it belongs to another trust domain than the table"
        return f"{to} cannot receive archived rows: {reason}"
    if wrong := receiving_reason(session, to, domain.domain.owners):
        return f"{to} cannot receive archived rows: {wrong}"
    there = ledger.columns(session, to, [name for name, _ in source.columns])
    lacking = [
        f"column {name} of type {kind}"
        for name, kind in source.columns
        if (name, kind) not in there
    ]
    if lacking:
        return f"{to} cannot receive archived rows: it has no {', no '.join(lacking)}"
    return ""


def _unkeyed(source: ExpiringTable, request: ArchivedTable) -> str:
    bare = [
        str(child.table)
        for child in (source.dependents.children if source.dependents else ())
        if not child.keyed
    ]
    if (
        request.key == "ctid"
        or (source.request.whole and not source.some)
        or (source.keyed and not bare)
    ):
        return ""
    cure = 'so its rows could not be told apart; to archive it all the same: key = "ctid"'
    return f"{', '.join(bare) or 'it'} has no unique key, {cure}"


def _full(folder: str, settings: Settings) -> str:
    """Return why the archive folder is unusable: missing, unsafe, or its disk nearly full."""
    try:
        try:
            state = _disk(folder)
        except FileNotFoundError:  # created when the first row is archived
            state = _disk(str(PurePosixPath(folder).parent))
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    free = 1.0
    if state.f_blocks:
        free = state.f_bavail / state.f_blocks
    if free < settings.free_disk:
        return f"{folder}: only {free:.1%} of its disk is free (governor.free_disk)"
    return ""


def _disk(folder: str) -> os.statvfs_result:
    with open_folder(folder) as descriptor:
        return os.fstatvfs(descriptor)


def plan(seen: Sequence[ObservedTable]) -> Sequence[Step]:
    """Plan the steps in the order of the configuration."""
    steps: list[Step] = []
    for one in seen:
        steps += [_expiry(one.keep, archive, stale) for archive, stale in one.stale if one.keep]
        table = str(one.source.request.table)
        if one.wrong or one.source.expired is None:
            refused = Cause.REFUSED
            steps.append(SkippedStep(name="archive", object=table, why=one.wrong, cause=refused))
            continue
        steps += [_whole(one, part) for part in one.source.partitions]
        if one.source.some:
            steps.append(_archive_rows(one, one.source.expired))
    return steps


def _archive_rows(one: ObservedTable, expired: ExpiredRows) -> Step:
    """Return the step that archives the expired rows of a table to a table or to files."""
    name, why = str(expired.table), rows_reason(one.source)
    if one.to:
        return ArchiveToTable(
            object=name,
            why=f"{why}; to {one.to}",
            expired=expired,
            to=one.to,
            columns=one.archive.columns,
            writer=one.archive.writer,
            logins=(one.source.login,),
        )
    return ArchiveToFile(
        object=name,
        why=f"{why}; to {one.archive.destination}",
        expired=expired,
        archive=one.archive,
        month=one.month,
        dependents=one.source.dependents,
        child_archives=one.child_archives,
        logins=(one.source.login,),
    )


def _expiry(keep: timedelta, archive: TableArchive, stale: ExpiredFile) -> Step:
    why = (
        f"archived until {stale.last}, kept for {format_duration(keep)}; {stale.rows} rows, "
        f"{format_size(stale.bytes)}"
    )
    return ExpireFile(
        object=f"{archive.root}/{archive.folder}/{stale.name}",
        why=why,
        archive=archive,
        stale=stale,
        keep=keep,
    )


def _whole(seen: ObservedTable, part: Partition) -> Step:
    why = partition_reason(part, seen.source.request.age)
    if part.wrong:
        return SkippedStep(
            name="archive", object=str(part.table), why=part.wrong, cause=Cause.REFUSED
        )
    why, instance = f"{why}; to {seen.archive.destination}", seen.archive.writer.instance
    seconds = part.bytes / COPIED_PER_SECOND
    return ArchivePartition(
        object=str(part.table),
        why=why,
        part=part,
        archive=seen.archive,
        month=seen.month,
        instance=instance,
        drop=seen.drop,
        logins=(part.owner_login,),
        predicted_seconds=seconds,
    )


def wanted(options: Options, _scope: Scope) -> bool:
    """Return whether any table is configured."""
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
    deletes=True,
    logins=("maintain", "data", "owner"),
)
