"""An attacker swaps a log folder, and files in it, for links to precious files, while they are cleaned: 20,000 passes.

He is a process of his own, as fast as he can; one pass deletes, the next one compresses. As a comparison the same
with paths instead of descriptors, which is what `find -delete` in a shell loop comes down to.
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
logs, precious, aside = sys.argv[1:]
victim = os.path.join(logs, "7.log")
while True:
    try:
        os.rename(logs, aside); os.symlink(precious, logs); os.unlink(logs); os.rename(aside, logs)
        os.symlink(os.path.join(precious, "8.log"), victim + ".new"); os.rename(victim + ".new", victim)
    except OSError:
        pass
"""


class NoProgress:
    def begin(self, *_): ...
    def advance(self, *_): ...
    def hold(self, *_): ...
    def end(self, *_): ...


def descriptors(logs, number):
    rule = FileRule(
        f"{logs}/*.log",
        None if number % 2 else -1,
        1,
        1000,
        1.0,
        compress_seconds=-1.0 if number % 2 else None,
    )
    control = StepControl(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress()), 60
    )
    if number % 2:
        CompressFiles(
            object=rule.path, rule=rule, files=compressible_files(rule, time.time())
        ).apply(control)
    else:
        DeleteFiles(object=rule.path, rule=rule, files=expired_files(rule, time.time())[0]).apply(
            control
        )


def paths(logs, _number):
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


def race(way, passes):
    root = Path(tempfile.mkdtemp(prefix="sereno-race-"))
    logs, precious = root / "var" / "log", root / "precious"
    logs.mkdir(parents=True)
    precious.mkdir()
    for number in range(FILES):
        (precious / f"{number}.log").write_text("precious")
    attacker = subprocess.Popen(
        [sys.executable, "-c", ATTACK, str(logs), str(precious), str(root / "aside")]
    )
    began = time.monotonic()
    met = number = 0
    try:
        while number < passes:  # those that got in
            refill(logs)
            try:
                way(logs, number)
                number += 1
            except OSError:
                met += 1
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.wait()
    harmed = sum(
        not (path := precious / f"{number}.log").exists() or path.read_text() != "precious"
        for number in range(FILES)
    )
    strange = len(list(precious.iterdir())) - (FILES - harmed)
    shutil.rmtree(root)
    return f"{passes} passes, {met} more met a swapped folder, foreign files harmed {harmed}, strange ones {strange}; {time.monotonic() - began:.0f} s", harmed + strange  # fmt: skip


if __name__ == "__main__":
    said, harmed = race(descriptors, int(sys.argv[1]) if sys.argv[1:] else PASSES)
    print(f"symlink race, by descriptor: {said}", flush=True)
    print(f"symlink race, by path (what we do not do): {race(paths, PASSES)[0]}")
    sys.exit(bool(harmed))
