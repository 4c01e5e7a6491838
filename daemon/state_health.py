"""The health of the state file: without it no run begins; critical alerts go out from memory."""

import contextlib
import threading
from dataclasses import replace

import structlog

from alerts import alert_store, silences
from daemon.context import Context
from daemon.outage_checks import OutageChecks
from daemon.unrecorded_alerts import UnrecordedAlerts
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import STATE_UNUSABLE
from store.state_check import StateCheck
from store.store import DisplacedError, StoreError

MOST_THREADS = 1000
"""Open critical alerts and channels remembered for an outage."""

_log = structlog.get_logger("state")


class StateHealth:
    """Checks the state file, and alerts about it without it."""

    def __init__(self, context: Context, *, looks: bool = True) -> None:
        """Check the state; with `looks` the cheap checks go on during an outage."""
        self._context, self.looks = context, looks
        self._check = StateCheck(context.store)
        self._unrecorded = UnrecordedAlerts()
        self._outage_checks = OutageChecks(self._send_during_outage)
        self._finding: Finding | None = None
        self._guard = threading.Lock()
        self.displaced = ""
        """That another service owns the state; empty if not."""
        self.problem = ""
        """The reason why the file cannot be used; empty if it can."""
        with contextlib.suppress(StoreError):  # the first check says so
            self._remember_threads()

    def use(self, context: Context) -> None:
        """Continue with a reloaded configuration."""
        with self._guard:
            if context.store.name != self._context.store.name:
                self._check = StateCheck(context.store)
            self._context = context

    def verify(self) -> str:
        """Check the file by a durable write; return the problem."""
        with self._guard:
            self._verify()
            return self.problem

    def has_unrecorded_alerts(self) -> bool:
        """Return whether alerts sent from memory are not recorded yet, or may be sent."""
        return bool(self.problem) or self._unrecorded.pending()

    def send_unrecorded(self, finding: Finding) -> None:
        """Send a finding that could not be stored, if it is critical."""
        if finding.severity is Severity.CRITICAL:
            self._unrecorded.open()
            self._unrecorded.send(self._context, finding)

    def _send_during_outage(self, finding: Finding) -> None:
        if finding.severity is Severity.CRITICAL:
            self._unrecorded.send(self._context, finding)

    def _verify(self) -> None:
        try:
            self._check.verify(self._context.clock())
            if self.problem or self._unrecorded.pending():
                self._record_sent()
            elif self._finding is not None:
                outage = Coverage(STATE_UNUSABLE.name, final=True)
                self._context.process_findings([], [outage])
                self._finding = None
            self._remember_threads()
        except DisplacedError as error:
            self.problem = self.displaced = str(error)
        except StoreError as error:
            if not self.problem:
                _log.critical("state.unusable", reason=str(error))
            self.problem = str(error)
            self._finding = self._outage(self.problem)
            self._unrecorded.open()
            self._unrecorded.send(self._context, self._finding)
            if self.looks:
                self._outage_checks.start(self._context)

    def _remember_threads(self) -> None:
        since = self._context.clock() - self._context.config.alerts.reopen
        with self._context.store.reading() as transaction:
            threads = alert_store.load_threads(transaction, Severity.CRITICAL, since, MOST_THREADS)
            silenced = silences.active(transaction, self._context.clock())
        self._unrecorded.remember(threads, silenced)

    def _record_sent(self) -> None:
        """Record the sent alerts; the outage is resolved at the next check. Raises StoreError.

        The notifications keep their ids, and are not sent again where a channel accepted them.
        """
        sent = self._unrecorded.sent()
        with self._context.store.transaction() as transaction:
            processor = self._context.processor(transaction)
            replace(processor, unrecorded=sent.copies).process(sent.findings)
        self._unrecorded.clear()
        if self.problem:
            self.problem = ""
            _log.warning("state.recovered")

    def _outage(self, reason: str) -> Finding:
        identity = Identity(STATE_UNUSABLE.name, self._context.config.daemon.name)
        summary = f"no run begins and no alert is recorded: {reason}"
        return Finding(identity, Severity.CRITICAL, summary, remedy=STATE_UNUSABLE.action)
