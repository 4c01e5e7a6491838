"""The parts of a running sereno, built once from the configuration by `daemon.bootstrap`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from alerts.channels.channel import Channel
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy
from alerts.processor import Acknowledged, AlertProcessor
from alerts.rate_limit import RateLimit
from checks.registry import Known
from daemon.config.model import Config
from domain.coverage import Coverage
from domain.finding import Finding
from execution.recent import RecentValues
from jobs.job import Job
from postgres.session import Target
from store.store import Store, Transaction


@dataclass(frozen=True, slots=True)
class AlertContext:
    """The configuration, the store and the alert policy: enough to record alerts."""

    config: Config
    store: Store
    policy: Policy
    clock: Callable[[], datetime]

    def processor(self, transaction: Transaction, run: int | None = None) -> AlertProcessor:
        """Return the alert processor of a transaction."""
        return AlertProcessor(transaction, self.policy, self.clock(), run)

    def process_findings(
        self, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()
    ) -> list[str]:
        """Process findings that belong to no run; return the ids of the notifications enqueued."""
        with self.store.transaction() as transaction:
            return self.processor(transaction).process(findings, coverage)

    def acknowledge(self, number: int, by: str, until: datetime | None = None) -> Acknowledged:
        """Acknowledge an alert, for the command line and for channels."""
        with self.store.transaction() as transaction:
            return self.processor(transaction).acknowledge(number, Acknowledgement(by, until))

    def acknowledge_from_channel(self, number: int, by: str) -> Acknowledged:
        """Acknowledge a firing alert by a button; it changes no acknowledgement made before."""
        with self.store.transaction() as transaction:
            acknowledgement = Acknowledgement(by, takes_over=False)
            return self.processor(transaction).acknowledge(number, acknowledgement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(AlertContext):
    """The context of alerts, with the jobs, the checks and the channels."""

    jobs: Mapping[str, Job]
    checks: Known
    channels: Mapping[str, Channel]
    target: Callable[[str], Target]
    """Returns the connection target of a database; its passwords are read at the call."""
    written: Config
    """The configuration as it is written, with its groups."""
    missing: frozenset[str] = frozenset()
    """Databases that were found once and are not there now."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """The groups whose server this command could not ask, each with the reason."""
    recent: RecentValues = field(default_factory=RecentValues)
    """What the runs of this process share: signals of servers, orders, the databases of a server.

    A context with another store needs its own.
    """
    rate_limits: dict[str, RateLimit] = field(default_factory=dict)
    """The measured rate limit of each channel."""
    unstored: dict[str, Callable[[], None]] = field(default_factory=dict)
    """By channel, what records an accepted message whose receipt could not be stored."""

    def inherit_deliveries(self, former: "Context") -> None:
        """Take over the receipts to be stored, and the rate limits of unchanged channels."""
        self.unstored.update(former.unstored)
        for name, options in self.config.channels.items():
            if options == former.config.channels.get(name) and name in former.rate_limits:
                self.rate_limits[name] = former.rate_limits[name]

    def courier(self, must_wait: Callable[[], bool] = lambda: False) -> Courier:
        """Return the courier of the outbox."""
        return Courier(
            self.store,
            self.channels,
            self.policy,
            self.clock,
            rate_limits=self.rate_limits,
            must_wait=must_wait,
            unstored=self.unstored,
        )
