"""Tells what no run has found: the service's own troubles, and drills."""

from collections.abc import Sequence

from alerts import book, outbox
from alerts.policy import Coverage, decide
from checks.finding import Finding
from daemon.parts import Parts


def tell(parts: Parts, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()) -> None:
    """Open, repeat or resolve alerts in one transaction."""
    now = parts.clock()
    with parts.store.transaction() as transaction:
        changes = decide(findings, coverage, book.known(transaction), parts.policy, now)
        outbox.enqueue(transaction, changes, parts.config.daemon.name, None, now)
