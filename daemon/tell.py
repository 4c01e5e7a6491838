"""Tells: from findings to alerts to what is owed for them, in one transaction."""

from collections.abc import Sequence

from alerts import book, outbox
from alerts.policy import Coverage, decide
from checks.finding import Finding
from daemon.parts import Parts
from store.store import Transaction


def tell(parts: Parts, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()) -> None:
    """Tell what no run has found: the service's own troubles, what an operator declares over."""
    with parts.store.transaction() as transaction:
        tell_within(transaction, parts, findings, coverage)


def tell_within(
    transaction: Transaction,
    parts: Parts,
    findings: Sequence[Finding],
    coverage: Sequence[Coverage],
    run: int | None = None,
) -> None:
    """Open, repeat or resolve alerts in the transaction of what caused them."""
    now = parts.clock()
    changes = decide(findings, coverage, book.known(transaction), parts.policy, now)
    outbox.enqueue(transaction, changes, parts.config.daemon.name, run, now)
