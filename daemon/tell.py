"""Tells what the house has found, by its rules and at its time."""

from collections.abc import Sequence

from alerts import book
from alerts.alert import State
from alerts.channels.channel import Taken
from alerts.policy import Acknowledgement, Coverage
from alerts.teller import Teller
from checks.finding import Finding
from daemon.parts import Parts
from store.store import Transaction


def tell(parts: Parts, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()) -> list[str]:
    """Tell what no run has found: the service's own troubles, what an operator declares over."""
    with parts.store.transaction() as transaction:
        return tell_within(transaction, parts, findings, coverage)


def tell_within(
    transaction: Transaction,
    parts: Parts,
    findings: Sequence[Finding],
    coverage: Sequence[Coverage],
    run: int | None = None,
) -> list[str]:
    """Open, repeat or resolve alerts in the transaction of what caused them; return the ids of the messages owed."""
    return Teller(transaction, parts.policy, parts.clock(), run).tell(findings, coverage)


def taking(parts: Parts) -> Taken:
    """Return what a channel does when somebody acknowledges there; what is over, or taken already, is left."""

    def take(alert: int, by: str) -> None:
        with parts.store.transaction() as transaction:
            found = book.one(transaction, alert)
            if found is not None and found.state is State.FIRING:
                Teller(transaction, parts.policy, parts.clock()).take(found, Acknowledgement(by))

    return take
