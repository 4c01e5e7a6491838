"""A drill: a message that says it is one, through the real outbox and the real channels."""

import time
from collections.abc import Iterator, Mapping, Sequence

from alerts import outbox
from alerts.alert import Message, Reason
from checks.finding import Severity
from daemon.cli.session import deliver
from daemon.parts import Parts

PATIENCE_SECONDS = 30.0


def drill(wired: Parts, channels: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield each channel with the state of its message, what was accepted of it, and the last error."""
    now = wired.clock()
    message = Message(
        instance=wired.config.daemon.name,
        severity=Severity.INFO,
        reason=Reason.DRILL,
        kind="drill",
        type="DRILL",
        title="drill: nothing is wrong",
        summary="Somebody tries whether this channel works. Nothing is to be done.",
        database="",
        object="",
        remedy="",
        occurred_at=now,
    )
    with wired.store.transaction() as transaction:
        owed = {channel: outbox.owe(transaction, message, channel, now) for channel in channels}
    yield from answers(wired, owed)


def answers(wired: Parts, owed: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Carry messages (by channel: their ids) and yield how each was answered, as `drill` does."""
    deliver(wired, PATIENCE_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for channel, number in owed.items():
        yield channel, *_settled(wired, number, deadline)


def _settled(wired: Parts, number: str, deadline: float) -> tuple[str, str, str]:
    """Wait for the service, if it is its work, to have tried once."""
    while True:
        with wired.store.reading() as transaction:
            state, receipt, error = outbox.state(transaction, number)
        if state in {"sent", "dead"} or error or time.monotonic() > deadline:
            return state, receipt, error
        time.sleep(0.2)
