"""Expired rows of log tables leave in small batches; expired log files by descriptor."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from archive.folder import File, FolderCleanup, Rule, expired
from archive.source import Source, Wish, look, walked, with_partitions
from daemon.config.jobs import ExpiringFiles, ExpiringTable
from daemon.config.model import Config
from daemon.config.values import in_words
from daemon.jobs.job import Job, Looking, Scope, effect
from daemon.jobs.partitions import partition_why
from postgres.batches import Expired
from postgres.connection import Session
from postgres.deletion import Deletion
from postgres.partition_drop import PartitionDrop
from postgres.partitions import Partition
from postgres.refusal import Refusal
from postgres.step import Step


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A listed folder and what has expired in it."""

    rule: Rule
    files: Sequence[File]
    note: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen."""

    tables: Sequence[Source] = ()
    folders: Sequence[SeenFolder] = ()
    instance: str = ""
    """The id that the database knows us by."""


def observe(looking: Looking) -> Observation:
    """Look at the listed tables of this database, or at the listed folders of this host."""
    wishes = looking.config.jobs.log_cleanup
    if looking.session is None:
        return Observation(folders=[_folder(files) for files in wishes.files])
    listed = [wish for wish in wishes.tables if wish.database in {None, looking.database}]
    return Observation([_source(looking, looking.session, wish) for wish in listed], instance=looking.instance)


def _source(looking: Looking, session: Session, table: ExpiringTable) -> Source:
    whole = table.partitions == "drop"
    source = look(session, Wish(table.table, table.column, table.keep, table.epoch, table.where, whole=whole))
    if not whole:
        return source
    with looking.open(looking.database) as reader:
        return with_partitions(source, reader, looking.instance)


def _folder(files: ExpiringFiles) -> SeenFolder:
    rule = Rule(files.path, files.keep.total_seconds(), files.keep_newest, files.most_files, files.most_share)
    try:
        found, note = expired(rule, time.time())
    except FileNotFoundError:
        return SeenFolder(rule, (), "there is no such folder")
    except OSError as error:
        return SeenFolder(rule, (), str(error))
    return SeenFolder(rule, found, note)


def plan(seen: Observation) -> Sequence[Step]:
    """In the order of the configuration; nothing where nothing has expired."""
    steps: list[Step] = []
    for source in seen.tables:
        if source.wrong or source.expired is None:
            steps.append(Refusal("delete", str(source.wish.table), source.wrong))
            continue
        steps += [_drop(part, source.wish, seen.instance) for part in source.partitions]
        if source.some:
            steps.append(_deletion(source.wish, source.expired))
    steps += [
        FolderCleanup(folder.rule, folder.files, folder.note or _files_why(folder))
        for folder in seen.folders
        if folder.files or folder.note
    ]
    return steps


def _deletion(wish: Wish, expired: Expired) -> Step:
    why = f"about {expired.estimate} rows are older than {in_words(wish.age)}; {walked(expired)}"
    return Deletion(expired, why)


def _drop(part: Partition, wish: Wish, instance: str) -> Step:
    if part.wrong:
        return Refusal("drop", str(part.table), part.wrong)
    return PartitionDrop(part, instance, partition_why(part, wish.age))


def _files_why(folder: SeenFolder) -> str:
    return f"{len(folder.files)} files, {sum(file.bytes for file in folder.files)} bytes"


def wanted(config: Config, scope: Scope) -> bool:
    """Tables are the database's, files the host's; one may be there without the other."""
    wishes = config.jobs.log_cleanup
    return bool(wishes.files if scope is Scope.HOST else wishes.tables)


JOB = Job(
    name="log_cleanup",
    summary="delete expired rows of log tables in small batches, and expired log files",
    scopes=(Scope.DATABASE, Scope.HOST),
    observe=observe,
    plan=plan,
    judge=effect("log_cleanup"),
    wanted=wanted,
    login="data",
    deletes=True,
)
