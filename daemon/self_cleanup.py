"""The job that deletes sereno's own old history.

Finished runs, ended alerts, delivered messages, report pages.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts import alert_store, outbox
from daemon.config.jobs import SelfCleanup
from daemon.config.model import Config
from daemon.history import history
from daemon.report.health_report import page_folder
from domain.cause import Cause
from domain.place import Place
from domain.task import Scope
from domain.units import format_duration, format_size
from execution.control import StepControl
from execution.skipped import SkippedStep
from execution.step import HostStep, Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict, action_judge
from retention.files.delete_files import DeleteFiles, File, FileRule, expired_files
from store.store import Store

NAME = "self_cleanup"
OBJECT = "sereno's own history"
FEW_RUNS, MOST_SHARE = 20, 0.9
"""More than this share of more than so many runs at once is refused: the clock may have jumped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeHistory(HostStep):
    """Deletes what ended before an instant; the transaction that records this step does it."""

    before: datetime
    rows: int
    name: str = "purge"
    object: str = OBJECT
    limit_seconds: float = 60.0

    def statement(self) -> str:
        """Return a comment: no statement is sent to a server."""
        return f"-- deletes what ended before {self.before:%Y-%m-%d}"

    def apply(self, _control: StepControl) -> Outcome:
        """Return the outcome; the recorder deletes the rows with it."""
        return Outcome(Status.DONE, rows=self.rows)


@dataclass(frozen=True, slots=True)
class Observation:
    """The old history, and the report pages that have expired."""

    history: Step | None
    pages: Sequence[File]
    rule: FileRule
    note: str


def job(config: Config, store: Store) -> Job:
    """Return the job, bound to the service's configuration and store."""

    def observe(inputs: JobInputs) -> Observation:
        return Observation(_old_history(config, store, inputs.now), *_old_pages(config))

    return Job(
        name=NAME,
        summary="delete sereno's own old history and report pages (daemon.keep)",
        scopes=(Scope.HOST,),
        observe=observe,
        plan=plan,
        judge=judge,
        options=SelfCleanup,
    )


def plan(seen: Observation) -> Sequence[Step]:
    """Return the steps: history first, then pages."""
    return list(_steps(seen))


def _steps(seen: Observation) -> Iterator[Step]:
    if seen.history:
        yield seen.history
    if seen.pages or seen.note:
        size = format_size(sum(page.bytes for page in seen.pages))
        yield DeleteFiles(
            object=seen.rule.path,
            why=seen.note or f"{len(seen.pages)} files, {size}",
            rule=seen.rule,
            files=seen.pages,
        )


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Return the instant before which the recorder deletes; an ineffective step is a finding."""
    if isinstance(step, PurgeHistory) and outcome.status is Status.DONE:
        return Verdict(purge_before=step.before)
    return _judge_files(step, outcome, place)


_judge_files = action_judge(NAME)


def _old_history(config: Config, store: Store, now: datetime) -> Step | None:
    before = now - config.daemon.keep
    with store.reading() as transaction:
        rows = runs = history.count_ended(transaction, before)
        all_runs = history.count_ended(transaction, datetime.max.replace(tzinfo=UTC))
        rows += outbox.count_ended(transaction, before) + alert_store.count_resolved(
            transaction, before
        )
    if not rows:
        return None
    age = format_duration(config.daemon.keep)
    if all_runs > FEW_RUNS and runs > MOST_SHARE * all_runs:
        why = f"{runs} of {all_runs} runs ended more than {age} ago: is the clock right?"
        return SkippedStep(name="purge", object=OBJECT, why=why, cause=Cause.REFUSED)
    why = f"{rows} runs, alerts and messages ended more than {age} ago (daemon.keep)"
    return PurgeHistory(why=why, before=before, rows=rows)


def _old_pages(config: Config) -> tuple[Sequence[File], FileRule, str]:
    path = page_folder(config) / "*.html"
    rule = FileRule(str(path), config.daemon.keep.total_seconds(), 2, 1000, MOST_SHARE)
    try:
        pages, note = expired_files(rule, time.time())
    except FileNotFoundError:
        return (), rule, ""
    except OSError as error:
        return (), rule, str(error)
    return pages, rule, note
