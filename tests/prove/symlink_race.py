"""Proof of file cleaning while an attacker swaps the folder for symbolic links: 20,000 passes.

The attacker is a separate process. Passes delete and compress in turn. For comparison the same runs
with paths instead of descriptors, as `find -delete` in a shell loop works.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from execution.control import RunLimits, StepControl
from execution.governor import Limits, Sample
from execution.window import open_window
from retention.files.compress_files import CompressFiles
from retention.files.delete_files import DeleteFiles, FileRule, compressible_files, expired_files

PASSES, FILES = 20_000, 200
ATTACK = """
import os, sys
logs, protected, aside = sys.argv[1:]
victim = os.path.join(logs, "7.log")
while True:
    try:
        os.rename(logs, aside); os.symlink(protected, logs); os.unlink(logs); os.rename(aside, logs)
        os.symlink(os.path.join(protected, "8.log"), victim + ".new"); os.rename(victim + ".new", victim)
    except OSError:
        pass
"""


class NoProgress:
    def begin(self, *_): ...
    def advance(self, *_): ...
    def hold(self, *_): ...
    def end(self, *_): ...


def clean_by_descriptor(logs, number):
    rule = FileRule(
        f"{logs}/*.log",
        None if number % 2 else -1,
        1,
        1000,
        1.0,
        compress_seconds=-1.0 if number % 2 else None,
    )
    control = StepControl(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress(), Sample), 60
    )
    if number % 2:
        CompressFiles(
            object=rule.path, rule=rule, files=compressible_files(rule, time.time())
        ).apply(control)
    else:
        DeleteFiles(object=rule.path, rule=rule, files=expired_files(rule, time.time())[0]).apply(
            control
        )


def clean_by_path(logs, _number):
    for path in sorted(logs.glob("*.log"))[:-1]:
        if path.is_file() and not path.is_symlink() and not logs.is_symlink():
            path.unlink()


def refill(folder):
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        for number in range(4):
            with suppress(OSError):
                name = f"{number + 5}.log"
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, dir_fd=descriptor))
        os.close(descriptor)


def race(clean, passes):
    root = Path(tempfile.mkdtemp(prefix="sereno-race-"))
    logs, protected = root / "var" / "log", root / "protected"
    logs.mkdir(parents=True)
    protected.mkdir()
    for number in range(FILES):
        (protected / f"{number}.log").write_text("protected")
    attacker = subprocess.Popen(
        [sys.executable, "-c", ATTACK, str(logs), str(protected), str(root / "aside")]
    )
    began = time.monotonic()
    refused = number = 0
    try:
        while number < passes:  # only passes that opened the folder count
            refill(logs)
            try:
                clean(logs, number)
                number += 1
            except OSError:
                refused += 1
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.wait()
    damaged = sum(
        not (path := protected / f"{number}.log").exists() or path.read_text() != "protected"
        for number in range(FILES)
    )
    unexpected = len(list(protected.iterdir())) - (FILES - damaged)
    shutil.rmtree(root)
    return f"{passes} passes, {refused} refused at a swapped folder, foreign files damaged {damaged}, unexpected files {unexpected}; {time.monotonic() - began:.0f} s", damaged + unexpected  # fmt: skip


if __name__ == "__main__":
    result, damaged = race(clean_by_descriptor, int(sys.argv[1]) if sys.argv[1:] else PASSES)
    print(f"symlink race, by descriptor: {result}", flush=True)
    print(f"symlink race, by path (for comparison): {race(clean_by_path, PASSES)[0]}")
    sys.exit(bool(damaged))
