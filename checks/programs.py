"""Runs a program that only reads, bounded in time and in output."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass

MOST_BYTES = 10_000_000
MOST_ERRORS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a program; `wrong` is the reason why its output cannot be used, or empty."""

    code: int
    output: str = ""
    wrong: str = ""


def ask(command: Sequence[str], seconds: float) -> Answer:
    """Run a program in the C locale and return its answer; one that is too long is ended.

    Raises OSError if it cannot be started.
    """
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - fixed programs; names from the configuration are arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
        ) as process,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            output = process.stdout.read(MOST_BYTES + 1) if process.stdout else b""
            if len(output) > MOST_BYTES:
                process.kill()
            code = process.wait()
        finally:
            timer.cancel()
        errors.seek(0)
        said = errors.read(MOST_ERRORS).decode(errors="replace").strip().splitlines()
    if late.is_set():
        return Answer(code, wrong=f"no answer within {seconds:.0f} s")
    if len(output) > MOST_BYTES:
        return Answer(code, wrong=f"more than {MOST_BYTES:,} bytes of output")
    text = output.decode(errors="replace")
    return Answer(code, text, (said[-1] if said else f"exit code {code}") if code else "")
