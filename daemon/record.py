"""Writes a run down as it goes: each step with its findings, alerts and messages in one transaction."""

from collections.abc import Iterable

from alerts import book, outbox
from alerts.policy import Coverage, decide
from checks.check import Place
from checks.finding import Finding, Identity, Severity
from daemon import history
from daemon.history import Errand
from daemon.jobs.job import Verdict
from daemon.parts import Parts
from daemon.verdict import RunState
from postgres.step import Outcome, Step
from store.store import Transaction

TASK_FAILED = "task_failed"
UNREACHABLE = "database_unreachable"


class Recorder:
    """The pen of one run."""

    def __init__(self, parts: Parts, errand: Errand) -> None:
        self._parts = parts
        self._job = errand.job
        self._database = errand.database
        self._unreachable = False
        with parts.store.transaction() as transaction:
            self.number = history.begin(transaction, errand, parts.clock())

    def step(self, step: Step, outcome: Outcome, place: Place) -> None:
        """Keep a step, what its judge says, and what is owed for it."""
        verdict = self._job.judge(step, outcome, place)
        now = self._parts.clock()
        with self._parts.store.transaction() as transaction:
            history.step(transaction, self.number, step, outcome, now)
            history.remember(transaction, self._job.name, self._database, (step, outcome), now)
            self._tell(transaction, verdict)

    def reached(self) -> None:
        """The server has answered: an alert that it does not is over."""
        with self._parts.store.transaction() as transaction:
            self._tell(transaction, Verdict(coverage=(Coverage(UNREACHABLE, self._database),)))

    def unreachable(self, reason: str) -> None:
        """The server does not answer: that is the alert, and the failed run is no other."""
        self._unreachable = True
        identity = Identity(UNREACHABLE, self._parts.config.daemon.name, database=self._database)
        finding = Finding(
            identity,
            Severity.CRITICAL,
            reason,
            remedy=f"is the server up? psql, with databases.{self._database}.dsn",
        )
        with self._parts.store.transaction() as transaction:
            self._tell(transaction, Verdict((finding,)))

    def finish(self, state: RunState, reason: str, left: int) -> None:
        """Keep the end; a failed run is a finding of its own, until the next one succeeds."""
        place = (self._parts.config.daemon.name, "", self._database, "", self._job.name)
        findings: Iterable[Finding] = ()
        coverage: tuple[Coverage, ...] = ()
        if state is RunState.FAILED and not self._unreachable:
            remedy = f"sereno history {self.number}"
            findings = (Finding(Identity(TASK_FAILED, *place), Severity.HIGH, reason, remedy=remedy),)
        elif state in {RunState.FINISHED, RunState.WINDOW_ENDED, RunState.THROTTLED}:
            coverage = (Coverage(TASK_FAILED, self._database, task=self._job.name),)
        with self._parts.store.transaction() as transaction:
            history.finish(transaction, self.number, (state.value, reason, left), self._parts.clock())
            self._tell(transaction, Verdict(tuple(findings), coverage))

    def _tell(self, transaction: Transaction, verdict: Verdict) -> None:
        now = self._parts.clock()
        for finding in verdict.findings:
            history.finding(transaction, self.number, finding, now)
        known = book.known(transaction)
        changes = decide(verdict.findings, verdict.coverage, known, self._parts.policy, now)
        outbox.enqueue(transaction, changes, self._parts.config.daemon.name, self.number, now)
