"""The job `log_cleanup`: deletes expired log rows, deletes or compresses log files."""

import pwd
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from domain.cause import Cause
from domain.options import Model, Retention, Size
from domain.place import means
from domain.task import Scope
from domain.units import format_size
from execution.skipped import SkippedStep
from execution.step import Step
from jobs.expiring_tables import archived_elsewhere, read_in_domain
from jobs.expiry_reasons import partition_reason, rows_reason
from jobs.job import Job, JobInputs, action_judge
from jobs.option_types import Column, Condition, Epoch, Table
from jobs.server_log_files import current_log_files
from retention.expiring_table import ExpiringTable, TableRequest
from retention.files.compress_files import CompressFiles
from retention.files.delete_files import (
    DeleteFiles,
    File,
    FileRule,
    check_path,
    compressible_files,
    data_directory_of,
    expired_files,
)
from retention.files.open_files import Inode, open_files
from retention.partitions.drop import DropPartition
from retention.partitions.expired import Partition
from retention.rows.delete_rows import DeleteRows


class CleanedTable(Model):
    """Rows of a table that expire by age."""

    table: Table = Field(description="The table, as in SQL, with its schema.")
    column: Column = Field(
        description="The age column: date, timestamp, timestamptz, uuid (v7), or an integer (see "
        "epoch)."
    )
    epoch: Epoch | None = Field(None, description="Unit of an integer column, counted since 1970.")
    keep: Retention = Field(description="Older rows are deleted.")
    where: Condition | None = Field(
        None,
        description="Delete only rows that meet this SQL condition; functions need their schema.",
    )
    partitions: Literal["rows", "drop"] = Field(
        "rows",
        description="Delete row by row, or whole partitions (drop): detached, then dropped.",
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
        return self


class ExpiringFiles(Model):
    """Files of one folder that expire by age, or by their total size."""

    path: Annotated[str, AfterValidator(check_path)] = Field(
        description="A folder and a file name pattern; subfolders are not searched."
    )
    keep: Retention | None = Field(
        None, description="Older files (by the later of mtime and ctime) are deleted."
    )
    total: Size | None = Field(
        None,
        gt=0,
        description="Delete the oldest until the rest is no larger; files of the last hour are "
        "kept.",
    )
    compress: Retention | None = Field(None, description="Compress older files in place (gzip).")
    owner: str | None = Field(None, description="Only files of this user; by default of any user.")
    keep_newest: int = Field(
        2, ge=1, description="The number of newest files that are always kept."
    )
    most_files: int = Field(1000, ge=1, description="The most files that one run deletes.")
    most_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Refuse to expire more than this share of the files by age at once.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.keep is None and self.total is None and self.compress is None:
            raise ValueError('needs keep = "30 days", total = "10 GB" or compress = "2 days"')
        if self.keep is not None and self.compress is not None and self.compress >= self.keep:
            raise ValueError("compress: files of that age are already deleted (keep)")
        return self


class Options(Model):
    """Deletes expired rows of log tables and expired log files."""

    tables: tuple[CleanedTable, ...] = ()
    files: tuple[ExpiringFiles, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedFolder:
    """A configured folder and its expired files."""

    rule: FileRule
    files: Sequence[File]
    note: str
    large: Sequence[File] = ()
    """The files to compress."""
    refused: bool = False
    """Whether the note forbids to touch the folder."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The observed tables or folders."""

    tables: Sequence[ExpiringTable] = ()
    folders: Sequence[ObservedFolder] = ()
    instance: str = ""
    """The id of this sereno in the database."""


def observe(inputs: JobInputs) -> Observation:
    """Read the configured tables of this database, or the configured folders of this host."""
    wanted = inputs.options
    if inputs.session is None:
        busy = open_files() | set(current_log_files(inputs)) if wanted.files else frozenset()
        folders = [_folder(files, busy) for files in wanted.files]
        return Observation(folders=folders)
    listed = [request for request in wanted.tables if means(request.database, inputs.database)]
    return Observation([_source(inputs, request) for request in listed], instance=inputs.instance)


def _source(inputs: JobInputs, table: CleanedTable) -> ExpiringTable:
    whole = table.partitions == "drop"
    request = TableRequest(
        table.table, table.column, table.keep, table.epoch, table.where, whole=whole
    )
    if wrong := archived_elsewhere(inputs, request, inputs.settings.jobs["archive"].tables):
        return ExpiringTable(request, wrong=wrong)
    return read_in_domain(inputs, request)


def _folder(files: ExpiringFiles, busy: frozenset[Inode]) -> ObservedFolder:
    rule = FileRule(
        files.path,
        files.keep.total_seconds() if files.keep else None,
        files.keep_newest,
        files.most_files,
        files.most_share,
        files.total,
        files.compress.total_seconds() if files.compress else None,
        busy=busy,
    )
    if server := data_directory_of(rule.folder):
        return ObservedFolder(rule, (), f"{server} is the data directory of a server", refused=True)
    try:
        rule = replace(rule, owner=pwd.getpwnam(files.owner).pw_uid if files.owner else None)
        found, note = expired_files(rule, time.time())
        return ObservedFolder(rule, found, note, compressible_files(rule, time.time()))
    except KeyError:
        return ObservedFolder(rule, (), f"the user {files.owner} does not exist")
    except FileNotFoundError:
        return ObservedFolder(rule, (), "the folder does not exist")
    except OSError as error:
        return ObservedFolder(rule, (), str(error))


def plan(seen: Observation) -> Sequence[Step]:
    """Plan the steps in the order of the configuration."""
    steps: list[Step] = []
    for source in seen.tables:
        table = str(source.request.table)
        if source.wrong or source.expired is None:
            refused = Cause.REFUSED
            steps.append(SkippedStep(name="delete", object=table, why=source.wrong, cause=refused))
            continue
        steps += [_drop(part, source.request, seen.instance) for part in source.partitions]
        if source.some:
            why = rows_reason(source)
            logins = (source.login,)
            steps.append(DeleteRows(object=table, why=why, expired=source.expired, logins=logins))
    for folder in seen.folders:
        if folder.files or folder.note:
            steps.append(_delete_files(folder))
    for folder in seen.folders:
        if folder.large:
            steps.append(_compress_files(folder))
    return steps


def _delete_files(folder: ObservedFolder) -> Step:
    why = folder.note or _files_why(folder.files)
    if folder.refused:
        return SkippedStep(name="delete", object=folder.rule.path, why=why, cause=Cause.REFUSED)
    return DeleteFiles(object=folder.rule.path, why=why, rule=folder.rule, files=folder.files)


def _compress_files(folder: ObservedFolder) -> Step:
    why = _files_why(folder.large)
    return CompressFiles(object=folder.rule.path, why=why, rule=folder.rule, files=folder.large)


def _drop(part: Partition, request: TableRequest, instance: str) -> Step:
    if part.wrong:
        return SkippedStep(name="drop", object=str(part.table), why=part.wrong, cause=Cause.REFUSED)
    return DropPartition(
        object=str(part.table),
        why=partition_reason(part, request.age),
        part=part,
        instance=instance,
        logins=(part.owner_login,),
    )


def _files_why(files: Sequence[File]) -> str:
    return f"{len(files)} files, {format_size(sum(file.bytes for file in files))}"


def wanted(options: Options, scope: Scope) -> bool:
    """Return whether tables (in a database) or files (on the host) are configured."""
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
    deletes=True,
    logins=("maintain", "data", "owner"),
)
