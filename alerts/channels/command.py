"""Channel to a program: it receives the message as JSON on standard input, without environment."""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from alerts.alert import Notification, Receipt
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender, Traits
from alerts.channels.webhook import payload

LONGEST = 200
LOOK_SECONDS, IDLE_SECONDS = 0.5, 0.02
PIECE_BYTES = 64 * 1024
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")


class Options(ChannelOptions):
    """A program; exit status 0 means accepted, any other is retried."""

    type: Literal["command"]
    command: tuple[str, ...] = Field(
        min_length=1,
        description="The program and its arguments; no shell is used.",
        examples=['["/usr/local/bin/tell"]'],
    )
    timeout_seconds: float = Field(30.0, gt=0, le=120)

    @field_validator("command")
    @classmethod
    def _whole(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not Path(command[0]).is_absolute():
            raise ValueError(
                f'"{command[0]}" is not an absolute path (like "/usr/local/bin/notify")'
            )
        return command

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Warn if the program is missing or not executable."""
        if not os.access(self.command[0], os.X_OK):
            yield "command", f"{self.command[0]} is not an executable program"

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(wants_acknowledgements=True)


class Command:
    """Runs one process per message."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options
        self.traits = options.traits

    def deliver(self, notification: Notification) -> Receipt:
        """Run the program; the first line of its output is the remote id."""
        body = json.dumps({"id": notification.id, **payload(notification)}, ensure_ascii=False)
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        try:
            # a file, since the program may read its input late or never
            with tempfile.TemporaryFile() as message:
                message.write(body.encode("utf-8", "replace"))
                message.seek(0)
                process = subprocess.Popen(  # noqa: S603 - the operator's own program, by its whole path
                    self._options.command,
                    stdin=message,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise DeliveryError(
                Failure.TRANSIENT, f"{self._options.command[0]}: {error.strerror}"
            ) from None
        printed, complained = self._communicate(process)
        if process.returncode != 0:
            reason = f"status {process.returncode}{f': {_first(complained)}' if complained else ''}"
            raise DeliveryError(Failure.TRANSIENT, reason)
        return Receipt("status 0", remote=_first(printed))

    def _communicate(self, process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
        """Read the output, of which the beginning is kept, then end the process group.

        A child left behind may keep the output open; it is not waited for.
        """
        deadline = time.monotonic() + self._options.timeout_seconds
        kept: dict[int, bytes] = {}
        try:
            with selectors.DefaultSelector() as selector:
                for pipe in filter(None, (process.stdout, process.stderr)):
                    selector.register(pipe, selectors.EVENT_READ)
                    kept[pipe.fileno()] = b""
                while time.monotonic() < deadline:
                    ended = process.poll() is not None
                    _read(selector, kept)
                    if ended:
                        printed, complained = kept.values()
                        return printed, complained
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            seconds = f"{self._options.timeout_seconds:.0f} s"
            raise DeliveryError(Failure.AMBIGUOUS, f"still running after {seconds}; it was ended")
        finally:
            for pipe in filter(None, (process.stdout, process.stderr)):
                pipe.close()


def _read(selector: selectors.BaseSelector, kept: dict[int, bytes]) -> None:
    """Read the available output; bytes after the first ones are dropped."""
    if not selector.get_map():
        time.sleep(IDLE_SECONDS)
    for key, _ in selector.select(LOOK_SECONDS):
        piece = os.read(key.fd, PIECE_BYTES)
        kept[key.fd] = (kept[key.fd] + piece)[: LONGEST * 4]
        if not piece:
            selector.unregister(key.fileobj)


def _first(output: bytes) -> str:
    return " ".join(output[: LONGEST * 4].decode("utf-8", "replace").split("\n")[0].split())[
        :LONGEST
    ]
