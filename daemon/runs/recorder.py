"""Records a run: each step in one transaction with its findings, alerts and notifications."""

from collections.abc import Sequence

from alerts import alert_store, outbox
from alerts.lifecycle import UNREACHABLE
from daemon.alerting import process_findings_in
from daemon.context import Context
from daemon.history import history
from daemon.runs.result import RunResult, RunState
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.place import Place
from domain.task import Task
from execution.step import Outcome, Status, Step
from jobs.job import INEFFECTIVE, Verdict, merge
from store.store import Transaction

TASK_FAILED = "task_failed"
TASK_SKIPPED = "task_skipped"
TASK_UNFINISHED = "task_unfinished"
TASK_ORPHANED = "task_orphaned"


class Recorder:
    """Records one run in the store."""

    def __init__(self, context: Context, task: Task) -> None:
        self._context = context
        self._job = context.jobs[task.job]
        self._database = task.database
        self._skipped: list[str] = []
        self._in_vain = False
        self._reached = False
        self._unreachable = False
        self._steps = 0
        with context.store.transaction() as transaction:
            self.number = history.begin_run(transaction, task, context.clock())

    def steps(self, ended: Sequence[tuple[Step, Outcome]], place: Place) -> None:
        """Record some finished steps and process their verdicts."""
        verdicts = [self._job.judge(step, outcome, place) for step, outcome in ended]
        for step, outcome in ended:
            self._in_vain = self._in_vain or outcome.status is Status.INEFFECTIVE
            if outcome.status is Status.SKIPPED:
                self._skipped.append(f"{step.name} {step.object}: {outcome.reason}")
        now = self._context.clock()
        with self._context.store.transaction() as transaction:
            history.record_steps(transaction, self.number, self._steps, ended, now)
            history.record_memory(transaction, self._job.name, self._database, ended, now)
            verdict = merge(verdicts)
            history.record_measures(transaction, self.number, verdict.measures, now)
            self._tell(transaction, verdict)
            for message, channel in verdict.reports:
                outbox.enqueue(transaction, message, channel, now)
            if verdict.purge_before:
                outbox.purge(transaction, verdict.purge_before)
                alert_store.purge(transaction, verdict.purge_before)
                history.purge(transaction, verdict.purge_before)
        self._steps += len(ended)

    def reached(self) -> None:
        """Record that the server answered: its alert is resolved."""
        self._reached, self._unreachable = True, False
        with self._context.store.transaction() as transaction:
            self._tell(transaction, Verdict(coverage=(Coverage(UNREACHABLE, self._database),)))

    def unreachable(self, reason: str) -> bool:
        """Open the alert that the server does not answer; return whether it applies.

        It does not if the server has answered before: then the connection was lost, or a login is
        bad.
        """
        if self._reached:
            self._reached = False
            return False
        self._unreachable = True
        identity = Identity(UNREACHABLE, self._context.config.daemon.name, database=self._database)
        remedy = (
            f"is the server up, and the login right? Try psql with databases.{self._database}.dsn"
        )
        with self._context.store.transaction() as transaction:
            self._tell(
                transaction, Verdict((Finding(identity, Severity.CRITICAL, reason, remedy=remedy),))
            )
        return True

    def finish(self, end: RunResult) -> None:
        """Record the end of the run and process its findings."""
        verdict = self._ended(end.state, end.reason)
        with self._context.store.transaction() as transaction:
            history.finish_run(
                transaction,
                self.number,
                (end.state.value, end.reason, end.left),
                self._context.clock(),
            )
            self._tell(transaction, verdict)

    def _ended(self, state: RunState, reason: str) -> Verdict:
        job, database = self._job.name, self._database
        findings: list[Finding] = []
        coverage: list[Coverage] = []
        if state is RunState.FAILED and not self._unreachable:
            findings.append(self._finding(TASK_FAILED, Severity.HIGH, reason))
        if state in {RunState.WINDOW_ENDED, RunState.THROTTLED}:
            findings.append(
                self._finding(TASK_UNFINISHED, Severity.WARNING, f"{state.value}: {reason}")
            )
        if state is RunState.SKIPPED:
            findings.append(self._finding(TASK_SKIPPED, Severity.WARNING, reason))
        if self._skipped:
            unseen = all(
                "no privilege" in one or "left to autovacuum" in one for one in self._skipped
            )
            more = f" (and {len(self._skipped) - 1} more)" if len(self._skipped) > 1 else ""
            severity = Severity.INFO if unseen else Severity.WARNING
            findings.append(self._finding(TASK_SKIPPED, severity, self._skipped[0] + more))
        elif state is RunState.FINISHED:
            coverage.append(Coverage(TASK_SKIPPED, database, task=job))
        if state is RunState.FINISHED:
            over = (TASK_FAILED, TASK_UNFINISHED, TASK_ORPHANED)
            coverage += [Coverage(kind, database, task=job) for kind in over]
            if not self._in_vain:
                coverage.append(Coverage(INEFFECTIVE, database, task=job))
        return Verdict(tuple(findings), tuple(coverage))

    def _finding(self, kind: str, severity: Severity, summary: str) -> Finding:
        identity = Identity(
            kind, self._context.config.daemon.name, "", self._database, "", self._job.name
        )
        return Finding(identity, severity, summary, remedy=f"sereno history {self.number}")

    def _tell(self, transaction: Transaction, verdict: Verdict) -> None:
        for finding in verdict.findings:
            history.record_finding(transaction, self.number, finding, self._context.clock())
        process_findings_in(
            transaction, self._context, verdict.findings, verdict.coverage, self.number
        )
