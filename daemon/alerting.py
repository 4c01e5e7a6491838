"""Tells what the house has found, by its rules and at its time."""

from collections.abc import Sequence

from alerts import alert_store
from alerts.alert import State
from alerts.channels.channel import Taken
from alerts.lifecycle import Acknowledgement
from alerts.processor import Teller
from daemon.context import Context
from domain.coverage import Coverage
from domain.finding import Finding
from store.store import Transaction


def tell(context: Context, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()) -> list[str]:
    """Tell what no run has found: the service's own troubles, what an operator declares over."""
    with context.store.transaction() as transaction:
        return tell_within(transaction, context, findings, coverage)


def tell_within(
    transaction: Transaction,
    context: Context,
    findings: Sequence[Finding],
    coverage: Sequence[Coverage],
    run: int | None = None,
) -> list[str]:
    """Open, repeat or resolve alerts in the transaction of what caused them; return the ids of the messages owed."""
    return Teller(transaction, context.policy, context.clock(), run).tell(findings, coverage)


def taking(context: Context) -> Taken:
    """Return what a channel does when somebody acknowledges there; what is over, or taken already, is left."""

    def take(alert: int, by: str) -> None:
        with context.store.transaction() as transaction:
            found = alert_store.one(transaction, alert)
            if found is not None and found.state is State.FIRING:
                Teller(transaction, context.policy, context.clock()).take(found, Acknowledgement(by))

    return take
