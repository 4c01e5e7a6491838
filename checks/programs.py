"""Runs a program and returns its answer, bounded in time and in output."""

import os
import pwd
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

MOST_BYTES = 10_000_000
MOST_ERRORS = 10_000
CHUNK = 65_536
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a program; `wrong` is the reason why its output cannot be used, or empty."""

    code: int
    output: str = ""
    wrong: str = ""


def ask(
    command: Sequence[str],
    seconds: float,
    *,
    given: bytes = b"",
    user: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Answer:
    """Run a program in the C locale and return its answer; one that is too long is ended.

    It has a session of its own, so that it cannot reach the caller's terminal, and what it leaves
    running ends with it. `given` is its standard input. Only root may name another `user`. Raises
    OSError if it cannot be started, KeyError if there is no such user.
    """
    with tempfile.TemporaryFile() as offered:
        offered.write(given)
        offered.seek(0)
        with subprocess.Popen(  # noqa: S603 - fixed programs; names from the configuration are arguments
            command,
            stdin=offered,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**environment, "LC_ALL": "C", "LANG": "C"},
            **_identity(user),
        ) as process:
            try:
                output, errors, late = _read(process, seconds)
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    if late:
        return Answer(code, wrong=f"no answer within {seconds:.0f} s")
    if len(output) > MOST_BYTES:
        return Answer(code, wrong=f"more than {MOST_BYTES:,} bytes of output")
    said = errors.decode(errors="replace").strip().splitlines()
    wrong = (said or [f"exit code {code}"])[-1]
    return Answer(code, output.decode(errors="replace"), wrong if code else "")


def _identity(user: str | None) -> Mapping[str, Any]:
    """Return the arguments of Popen that make a program run as a user with the user's groups."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups, "cwd": "/"}


def _read(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes, bool]:
    """Return output, last errors, and whether the time was up; ends with the program itself.

    A process that the program leaves behind may keep the pipes open.
    """
    output, errors = bytearray(), bytearray()
    ends = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        pipes: Sequence[tuple[IO[bytes] | None, bytearray]] = (
            (process.stdout, output),
            (process.stderr, errors),
        )
        for pipe, into in pipes:
            assert pipe is not None  # noqa: S101 - both are pipes
            selector.register(pipe, selectors.EVENT_READ, into)
        while selector.get_map() and len(output) <= MOST_BYTES:
            if time.monotonic() > ends:
                return bytes(output), bytes(errors), True
            has_ended = process.poll() is not None
            ready = selector.select(LOOK_SECONDS)
            if has_ended and not ready:
                break
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            del errors[:-MOST_ERRORS]
    if len(output) <= MOST_BYTES and process.poll() is None:  # the pipes were closed before its end
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, ends - time.monotonic()))
        return bytes(output), bytes(errors), process.poll() is None
    return bytes(output), bytes(errors), False
