"""Records a run: each step in one transaction with its findings, alerts and notifications."""

from collections.abc import Sequence

from alerts import alert_store, outbox
from alerts.alert import Message, Reason
from daemon.context import Context
from daemon.history import audit, history, ignored, recording, web_requests
from daemon.runs.judging import (
    RunRecord,
    judge_interrupted,
    judge_logins,
    judge_run,
)
from daemon.runs.login_check import CheckedLogin
from daemon.runs.reaching import judge_reached, judge_unreachable
from daemon.runs.recovery import LIVE_RUNS
from daemon.runs.result import RunResult, RunState
from domain.finding import Severity
from domain.kinds import MIGRATION_STATUS
from domain.place import SEPARATOR, Place
from domain.task import Request, Task
from execution.step import Outcome, Status, Step
from jobs.job import Verdict, merge
from postgres.session import UnreachableError
from store.store import Transaction

_INCIDENTS = frozenset({"jira", "pagerduty", "alertmanager"})
"""Types of channels that would open something for a person to close."""


class Recorder:
    """Records one run in the store, and adds it to the live ones."""

    def __init__(self, context: Context, task: Task) -> None:
        self._context = context
        self._task = task
        self._skipped: list[tuple[Step, Outcome]] = []
        self._had_ineffective = False
        self._reached = False
        self._unreachable = False
        self._steps = 0
        with context.store.transaction() as transaction:
            self._close_unrecorded(transaction)
            self.number = history.begin_run(transaction, task, context.clock())
            LIVE_RUNS.add(self.number)  # before another thread can see it

    def _close_unrecorded(self, transaction: Transaction) -> None:
        """Close earlier runs of the task that have ended and could not be recorded, by an alert."""
        task, why = self._task, "its end could not be recorded"
        lost = [
            number
            for number in history.runs_of_process(transaction, task)
            if number not in LIVE_RUNS
        ]
        instance, now = self._context.config.daemon.name, self._context.clock()
        for number in lost:
            history.mark_interrupted(transaction, number, why, now)
        if lost:
            found = [judge_interrupted(instance, task, number, why) for number in lost]
            self._context.processor(transaction).process(found, [])

    def steps(self, ended: Sequence[tuple[Step, Outcome]], place: Place) -> None:
        """Record some finished steps and process their verdicts."""
        task, now = self._task, self._context.clock()
        judge = self._context.jobs[task.job].judge
        verdict = merge([judge(step, outcome, place) for step, outcome in ended])
        self._skipped += [one for one in ended if one[1].status is Status.SKIPPED]
        self._had_ineffective |= any(one.status is Status.INEFFECTIVE for _, one in ended)
        with self._context.store.transaction() as transaction:
            recording.record_steps(transaction, self.number, self._steps, ended, now)
            recording.record_memory(transaction, task.job, task.database, ended, now)
            history.record_measures(transaction, self.number, verdict.measures, now)
            self._process(transaction, verdict)
            for message, channel in verdict.reports:
                outbox.enqueue(transaction, message, channel, now)
            if verdict.purge_before:
                outbox.purge(transaction, verdict.purge_before)
                alert_store.purge(transaction, verdict.purge_before)
                history.purge(transaction, verdict.purge_before)
                web_requests.purge(transaction, verdict.purge_before)
                audit.purge(transaction, verdict.purge_before)
                ignored.purge(transaction, verdict.purge_before.date())
        self._steps += len(ended)

    def reached(self) -> None:
        """Record that the server answered: its alert is resolved."""
        self._reached, self._unreachable = True, False
        with self._context.store.transaction() as transaction:
            self._process(transaction, judge_reached(self._context.policy, self._task.database))

    def is_gone(self, error: UnreachableError) -> bool:
        """Return whether the database was found once and is gone; the alert says so."""
        if not (error.lacks_database and SEPARATOR in self._task.database):
            return False
        with self._context.store.transaction() as transaction:
            verdict = judge_unreachable(self._context.policy, self._task.database, error)
            self._process(transaction, verdict)
        return True

    def is_silent(self) -> bool:
        """Return whether the server has not answered since it was reached last.

        Otherwise the connection was lost, or a login is bad.
        """
        if self._reached:
            self._reached = False
            return False
        self._unreachable = True
        return True

    def unreachable(self, error: UnreachableError) -> None:
        """Open the alert that the server does not answer."""
        with self._context.store.transaction() as transaction:
            verdict = judge_unreachable(self._context.policy, self._task.database, error)
            self._process(transaction, verdict)

    def logins(self, checked: Sequence[CheckedLogin]) -> None:
        """Record how the logins of the run are after it."""
        if checked:
            instance = self._context.config.daemon.name
            with self._context.store.transaction() as transaction:
                verdict = judge_logins(instance, self._task.database, checked)
                self._process(transaction, verdict)

    def finish(self, result: RunResult) -> None:
        """Record the end of the run and process its findings."""
        record = RunRecord(
            self._context.config.daemon.name,
            self._task,
            self.number,
            self._skipped,
            self._had_ineffective,
            self._unreachable,
            self._context.jobs[self._task.job].alarm,
        )
        with self._context.store.transaction() as transaction:
            end = (result.state.value, result.reason, result.left, result.cause)
            history.finish_run(transaction, self.number, end, self._context.clock())
            self._process(transaction, judge_run(record, result))
            asked = self._task.request
            if asked is not None and result.state is RunState.FINISHED:
                self._tell_success(transaction, asked)

    def _tell_success(self, transaction: Transaction, asked: Request) -> None:
        """Enqueue the message that a requested run has finished, where alerts of `info` go."""
        config, now = self._context.config, self._context.clock()
        message = Message(
            instance=config.daemon.name,
            severity=Severity.INFO,
            reason=Reason.REPORT,
            kind="migration_success",
            type=MIGRATION_STATUS,
            title=f"migration_success: {self._task.database} {asked.subject}",
            summary=f"{asked.action} of {asked.subject} by {asked.principal}: run {self.number} "
            "has finished",
            database=self._task.database,
            object=asked.subject,
            remedy="",
            occurred_at=now,
            task=self._task.job,
        )
        for channel in config.routes.info:
            if config.channels[channel].type in _INCIDENTS:
                continue
            outbox.enqueue(transaction, message, channel, now)

    def _process(self, transaction: Transaction, verdict: Verdict) -> None:
        for finding in verdict.findings:
            history.record_finding(transaction, self.number, finding, self._context.clock())
        processor = self._context.processor(transaction, self.number)
        processor.process(verdict.findings, verdict.coverage)
