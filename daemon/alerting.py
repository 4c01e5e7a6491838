"""Findings and acknowledgements from the service to the alert processor."""

from collections.abc import Sequence

from alerts import alert_store
from alerts.alert import State
from alerts.channels.channel import AcknowledgeCallback
from alerts.lifecycle import Acknowledgement
from alerts.processor import AlertProcessor
from daemon.context import Context
from domain.coverage import Coverage
from domain.finding import Finding
from store.store import Transaction


def process_findings(
    context: Context, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()
) -> list[str]:
    """Process findings that belong to no run, in a transaction of their own.

    Return notification ids.
    """
    with context.store.transaction() as transaction:
        return process_findings_in(transaction, context, findings, coverage)


def process_findings_in(
    transaction: Transaction,
    context: Context,
    findings: Sequence[Finding],
    coverage: Sequence[Coverage],
    run: int | None = None,
) -> list[str]:
    """Process findings in the transaction that records their cause; return notification ids."""
    return AlertProcessor(transaction, context.policy, context.clock(), run).tell(
        findings, coverage
    )


def acknowledge_callback(context: Context) -> AcknowledgeCallback:
    """Return the function that channels call for an acknowledgement."""

    def take(alert: int, by: str) -> None:
        with context.store.transaction() as transaction:
            found = alert_store.load_alert(transaction, alert)
            if found is not None and found.state is State.FIRING:
                AlertProcessor(transaction, context.policy, context.clock()).take(
                    found, Acknowledgement(by)
                )

    return take
