"""Expired rows of log tables leave in small batches; expired log files by descriptor."""

import pwd
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from domain.task import Scope
from domain.units import format_size
from execution.skipped import Refusal
from execution.step import Step
from jobs.expiry_reasons import partition_why, rows_why
from jobs.job import Job, JobInputs, action_judge
from jobs.option_types import Column, Condition, Epoch, Model, Retention, Size, Table
from jobs.server_log_files import current_logs
from postgres.session import Session
from retention.expiring_table import Source, Wish, look, with_partitions
from retention.files.compress_files import FolderCompression
from retention.files.delete_files import File, FolderCleanup, Rule, check_path, compressible, expired
from retention.files.open_files import Inode, open_files
from retention.partitions.drop import PartitionDrop
from retention.partitions.expired import Partition
from retention.rows.delete_rows import Deletion


class ExpiringTable(Model):
    """Rows of a table that expire by age."""

    table: Table = Field(description="As in SQL, with its schema.")
    column: Column = Field(description="Its age: date, timestamp, timestamptz, uuid (v7), or an integer (see epoch).")
    epoch: Epoch | None = Field(None, description="What an integer counts since 1970.")
    keep: Retention = Field(description="Older rows are deleted.")
    where: Condition | None = Field(None, description="Only where this holds, in SQL; functions with their schema.")
    partitions: Literal["rows", "drop"] = Field(
        "rows", description="What has expired leaves row by row; or partitions as a whole: detached, then dropped."
    )
    database: str | None = Field(None, description="Which database it is in; every one where it is not said.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.partitions != "rows" and self.where is not None:
            raise ValueError('a whole partition leaves, whatever `where` says: leave it out, or partitions = "rows"')
        return self


class ExpiringFiles(Model):
    """Files of one folder that expire by age, or by their size together."""

    path: Annotated[str, AfterValidator(check_path)] = Field(
        description="A folder and a pattern for names in it; folders below are left alone."
    )
    keep: Retention | None = Field(None, description="Older files (by the later of mtime and ctime) are deleted.")
    total: Size | None = Field(
        None, gt=0, description="The oldest are deleted until the rest is no larger; none of the last hour."
    )
    compress: Retention | None = Field(None, description="Older files are compressed (gzip) where they lie.")
    owner: str | None = Field(None, description="Only files of this user; of any where it is not said.")
    keep_newest: int = Field(2, ge=1, description="This many stay, however old.")
    most_files: int = Field(1000, ge=1, description="The most that one run deletes; the rest next time.")
    most_share: float = Field(
        0.9, gt=0, le=1, description="More than this share of the files never expires by age at once."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.keep is None and self.total is None and self.compress is None:
            raise ValueError('says nothing: give keep = "30 days", total = "10 GB" or compress = "2 days"')
        if self.keep is not None and self.compress is not None and self.compress >= self.keep:
            raise ValueError("compress: files that old are deleted already (keep)")
        return self


class Options(Model):
    """Expired rows of log tables and expired log files."""

    tables: tuple[ExpiringTable, ...] = ()
    files: tuple[ExpiringFiles, ...] = ()



@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A listed folder and what has expired in it."""

    rule: Rule
    files: Sequence[File]
    note: str
    large: Sequence[File] = ()
    """What is to be compressed."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen."""

    tables: Sequence[Source] = ()
    folders: Sequence[SeenFolder] = ()
    instance: str = ""
    """The id that the database knows us by."""


def observe(inputs: JobInputs) -> Observation:
    """Look at the listed tables of this database, or at the listed folders of this host."""
    wishes = inputs.options
    if inputs.session is None:
        busy = open_files() | set(current_logs(inputs)) if wishes.files else frozenset()
        folders = [_folder(files, busy) for files in wishes.files]
        return Observation(folders=folders)
    listed = [wish for wish in wishes.tables if wish.database in {None, inputs.database}]
    return Observation([_source(inputs, inputs.session, wish) for wish in listed], instance=inputs.instance)


def _source(inputs: JobInputs, session: Session, table: ExpiringTable) -> Source:
    whole = table.partitions == "drop"
    source = look(session, Wish(table.table, table.column, table.keep, table.epoch, table.where, whole=whole))
    if not whole:
        return with_partitions(source, session, inputs.instance)
    with inputs.open(inputs.database) as reader:
        return with_partitions(source, reader, inputs.instance)


def _folder(files: ExpiringFiles, busy: frozenset[Inode]) -> SeenFolder:
    rule = Rule(
        files.path,
        files.keep.total_seconds() if files.keep else None,
        files.keep_newest,
        files.most_files,
        files.most_share,
        files.total,
        files.compress.total_seconds() if files.compress else None,
        busy=busy,
    )
    try:
        rule = replace(rule, owner=pwd.getpwnam(files.owner).pw_uid if files.owner else None)
        found, note = expired(rule, time.time())
        return SeenFolder(rule, found, note, compressible(rule, time.time()))
    except KeyError:
        return SeenFolder(rule, (), f"there is no user {files.owner}")
    except FileNotFoundError:
        return SeenFolder(rule, (), "there is no such folder")
    except OSError as error:
        return SeenFolder(rule, (), str(error))


def plan(seen: Observation) -> Sequence[Step]:
    """In the order of the configuration; nothing where nothing has expired."""
    steps: list[Step] = []
    for source in seen.tables:
        if source.wrong or source.expired is None:
            steps.append(Refusal("delete", str(source.wish.table), source.wrong))
            continue
        steps += [_drop(part, source.wish, seen.instance) for part in source.partitions]
        if source.some:
            steps.append(Deletion(source.expired, rows_why(source)))
    steps += [
        FolderCleanup(folder.rule, folder.files, folder.note or _files_why(folder.files))
        for folder in seen.folders
        if folder.files or folder.note
    ]
    steps += [
        FolderCompression(folder.rule, folder.large, _files_why(folder.large))
        for folder in seen.folders
        if folder.large
    ]
    return steps


def _drop(part: Partition, wish: Wish, instance: str) -> Step:
    if part.wrong:
        return Refusal("drop", str(part.table), part.wrong)
    return PartitionDrop(part, instance, partition_why(part, wish.age))


def _files_why(files: Sequence[File]) -> str:
    return f"{len(files)} files, {format_size(sum(file.bytes for file in files))}"


def wanted(options: Options, scope: Scope) -> bool:
    """Tables are cleaned in their database, files on the host."""
    return bool(options.files if scope is Scope.HOST else options.tables)


JOB = Job(
    name="log_cleanup",
    summary="delete expired rows of log tables in small batches, and expired log files",
    scopes=(Scope.DATABASE, Scope.HOST),
    options=Options,
    observe=observe,
    plan=plan,
    judge=action_judge("log_cleanup"),
    wanted=wanted,
    login="data",
    deletes=True,
)
