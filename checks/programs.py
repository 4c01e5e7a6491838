"""Runs a program that only reads, bounded in time and in output."""

import os
import pwd
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 10_000_000
MOST_ERRORS = 10_000


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

    `given` is its standard input. Only root may name another `user`. Raises OSError if it cannot
    be started, KeyError if there is no such user.
    """
    late = threading.Event()
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as offered:
        offered.write(given)
        offered.seek(0)
        with subprocess.Popen(  # noqa: S603 - fixed programs; names from the configuration are arguments
            command,
            stdin=offered,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**environment, "LC_ALL": "C", "LANG": "C"},
            **_identity(user),
        ) as process:
            timer = threading.Timer(seconds, _end, (process, late))
            timer.start()
            output = _read(process)
            code = process.wait()
            timer.cancel()
        errors.seek(0)
        said = errors.read(MOST_ERRORS).decode(errors="replace").strip().splitlines()
    if late.is_set():
        return Answer(code, wrong=f"no answer within {seconds:.0f} s")
    if len(output) > MOST_BYTES:
        return Answer(code, wrong=f"more than {MOST_BYTES:,} bytes of output")
    wrong = (said or [f"exit code {code}"])[-1]
    return Answer(code, output.decode(errors="replace"), wrong if code else "")


def _identity(user: str | None) -> Mapping[str, Any]:
    """Return the arguments of Popen that make a program run as a user with the user's groups."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups, "cwd": "/"}


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _read(process: subprocess.Popen[bytes]) -> bytes:
    """Return the output of a program, and end one that writes too much."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    output = process.stdout.read(MOST_BYTES + 1)
    if len(output) > MOST_BYTES:
        process.kill()
    return output
