"""Expired rows of log tables leave in small batches; expired log files by descriptor."""

import pwd
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from alerts import book, outbox
from archive.compression import FolderCompression
from archive.folder import File, FolderCleanup, Rule, compressible, expired
from archive.openfiles import Inode, open_files
from archive.source import Source, Wish, look, with_partitions
from checks.check import Place
from daemon import history
from daemon.config.jobs import ExpiringFiles, ExpiringTable
from daemon.config.model import Config
from daemon.jobs.currentlog import current_logs
from daemon.jobs.health_report import folder as reports
from daemon.jobs.job import Job, Looking, Scope, Verdict, effect
from daemon.jobs.leaving import partition_why, rows_why
from daemon.jobs.ownhistory import OwnHistory
from daemon.report.words import size
from postgres.connection import Session
from postgres.deletion import Deletion
from postgres.partition_drop import PartitionDrop
from postgres.partitions import Partition
from postgres.refusal import Refusal
from postgres.step import Outcome, Status, Step


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
    own: OwnHistory | None = None


def observe(looking: Looking) -> Observation:
    """Look at the listed tables of this database, or at the listed folders of this host."""
    wishes = looking.config.jobs.log_cleanup
    if looking.session is None:
        busy = open_files() | set(current_logs(looking)) if wishes.files else frozenset()
        folders = [_folder(files, busy) for files in wishes.files]
        return Observation(folders=[*folders, *_reports(looking)], own=_own(looking))
    listed = [wish for wish in wishes.tables if wish.database in {None, looking.database}]
    return Observation([_source(looking, looking.session, wish) for wish in listed], instance=looking.instance)


def _own(looking: Looking) -> OwnHistory | None:
    keep = looking.config.daemon.keep
    before = looking.now - keep
    with looking.reading() as transaction:
        rows = history.ended(transaction, before) + outbox.ended(transaction, before) + book.over(transaction, before)
    return OwnHistory(before, rows, keep) if rows else None


def _reports(looking: Looking) -> Iterator[SeenFolder]:
    """Look at the pages of our own reports, once there are any."""
    path = reports(looking.config) / "*.html"
    rule = Rule(str(path), looking.config.daemon.keep.total_seconds(), 1, 1000, 1.0)
    try:
        yield SeenFolder(rule, *expired(rule, time.time()))
    except FileNotFoundError:
        return
    except OSError as error:
        yield SeenFolder(rule, (), str(error))


def _source(looking: Looking, session: Session, table: ExpiringTable) -> Source:
    whole = table.partitions == "drop"
    source = look(session, Wish(table.table, table.column, table.keep, table.epoch, table.where, whole=whole))
    if not whole:
        return with_partitions(source, session, looking.instance)
    with looking.open(looking.database) as reader:
        return with_partitions(source, reader, looking.instance)


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
    steps += [seen.own] if seen.own else []
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
    return f"{len(files)} files, {size(sum(file.bytes for file in files))}"


def wanted(config: Config, scope: Scope) -> bool:
    """Tables are the database's; files, and what sereno itself keeps, the host's."""
    return scope is Scope.HOST or bool(config.jobs.log_cleanup.tables)


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """What was in vain is a finding; our own history goes with the transaction that records this."""
    if isinstance(step, OwnHistory) and outcome.status is Status.DONE:
        return Verdict(forget=step.before)
    return _EFFECT(step, outcome, place)


_EFFECT = effect("log_cleanup")


JOB = Job(
    name="log_cleanup",
    summary="delete expired rows of log tables in small batches, and expired log files",
    scopes=(Scope.DATABASE, Scope.HOST),
    observe=observe,
    plan=plan,
    judge=judge,
    wanted=wanted,
    login="data",
    deletes=True,
)
