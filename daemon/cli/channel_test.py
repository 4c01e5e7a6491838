"""`sereno alerts test`: a test message through the real outbox and channels."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    fail,
    open_context,
    print_json,
    unknown_name,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from alerts.alert import Message
    from daemon.context import Context

SERVICE_SECONDS = 30.0
"""How long the running service has to deliver."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of one channel."""

    channel: str
    state: str
    accepted: str
    error: str

    def text(self) -> str:
        """Return the result as one line."""
        if self.state == "sent":
            outcome = "accepted"
            if self.accepted:
                outcome = f"accepted: {self.accepted}"
        elif self.state == "pending" and not self.error:
            outcome = "not tried yet; see: sereno alerts outbox"
        else:
            outcome = self.state
        error = ""
        if self.error and self.error not in self.accepted:
            error = f" ({self.error})"
        return f"{self.channel}: {outcome}{error}"

    def as_json(self) -> dict[str, str]:
        """Return the result as a JSON object."""
        return {
            "channel": self.channel,
            "state": self.state,
            "accepted": self.accepted,
            "error": self.error,
        }


def test(
    channels: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHANNEL]...", help="Default: all channels.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message and print the answer of each channel. Exits with 1 if one failed."""
    with open_context(config) as context:
        from daemon.periodic_alerts import channel_test_message

        if not context.channels:
            fail("no channel is configured ([channels.NAME])", Exit.CANNOT)
        for name in channels or ():
            if name not in context.channels:
                fail(unknown_name("channel", name, context.channels), Exit.CANNOT)
        chosen = channels or list(context.channels)
        results = list(send_and_wait(context, channel_test_message(context), chosen))
        if as_json:
            print_json([result.as_json() for result in results])
        else:
            for result in results:
                typer.echo(result.text())
        if any(result.state != "sent" for result in results):
            raise typer.Exit(Exit.FOUND)


def send_and_wait(
    context: "Context", message: "Message", channels: Sequence[str]
) -> Iterator[Result]:
    """Enqueue a message, have it delivered, and yield the answer of each channel."""
    from alerts import outbox
    from daemon.cli.delivery import deliver_pending

    now = context.clock()
    with context.store.transaction() as transaction:
        ids = {channel: outbox.enqueue(transaction, message, channel, now) for channel in channels}
    by_service = deliver_pending(context, SERVICE_SECONDS) is None
    deadline = time.monotonic() + (SERVICE_SECONDS if by_service else 0.0)
    for channel, number in ids.items():
        yield Result(channel, *_settled(context, number, deadline))


def _settled(context: "Context", number: str, deadline: float) -> tuple[str, str, str]:
    from alerts import outbox

    while True:
        with context.store.reading() as transaction:
            state, receipt, error, _ = outbox.load_state(transaction, number)
        if state in {"sent", "dead"} or error or time.monotonic() > deadline:
            return state, receipt, error
        time.sleep(0.2)
