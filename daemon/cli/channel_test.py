"""A drill: a message that says it is one, through the real outbox and the real channels."""

import time
from collections.abc import Iterator, Sequence

from alerts import outbox
from alerts.alert import Message
from daemon.cli.now_session import deliver_pending
from daemon.context import Context

PATIENCE_SECONDS = 30.0


def test_channels(
    context: Context, message: Message, channels: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Owe a message to channels, carry it, and yield how each has answered, as `drill` does."""
    now = context.clock()
    with context.store.transaction() as transaction:
        owed = {channel: outbox.enqueue(transaction, message, channel, now) for channel in channels}
    theirs = deliver_pending(context, PATIENCE_SECONDS) is None
    deadline = time.monotonic() + (PATIENCE_SECONDS if theirs else 0.0)
    for channel, number in owed.items():
        yield channel, *_settled(context, number, deadline)


def _settled(context: Context, number: str, deadline: float) -> tuple[str, str, str]:
    """Wait for the service, if it is its work, to have tried once."""
    while True:
        with context.store.reading() as transaction:
            state, receipt, error, _ = outbox.load_state(transaction, number)
        if state in {"sent", "dead"} or error or time.monotonic() > deadline:
            return state, receipt, error
        time.sleep(0.2)
