"""CPU seconds of commands that only read the state file, with and without bytecode.

Bytecode means that of sereno and its libraries; that of the standard library is always present.

`--base` is a checkout of another version with a .venv; then the ratio to it is printed.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (("status",), ("history",), ("alerts", "list"), ("--help",))
REPETITIONS = 7
CONFIG = """
[daemon]
name = "bench"
state = "{folder}/state.db"
[databases.main]
dsn = "host=/nonexistent dbname=x user=x"
[schedules.daily]
cron = "0 2 * * *"
jobs = ["analyze"]
"""


def main() -> None:
    """Print a Markdown row per command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="A checkout with a .venv.")
    base = parser.parse_args().base
    sys.stdout.write("| command | bytecode | CPU seconds | ratio to base |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        current = Version(ROOT, Path(folder, "current"))
        other = Version(base, Path(folder, "base")) if base else None
        for command in COMMANDS:
            for compiled in (False, True):
                print_row(command, current, other, compiled=compiled)


class Version:
    """A checkout with its environment, a state file and two bytecode caches."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.config = folder / "config.toml"
        self.caches = {True: folder / "all", False: folder / "library"}
        folder.mkdir()
        self.config.write_text(CONFIG.format(folder=folder))
        library = ["-m", "compileall", "-q", "-x", "site-packages", sysconfig.get_path("stdlib")]
        for cache in self.caches.values():
            environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
            subprocess.run(
                [root / ".venv/bin/python", *library],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        cpu_seconds(self, ("resume",), compiled=True)  # creates the state file
        cpu_seconds(self, ("status",), compiled=True)

    def environment(self, *, compiled: bool) -> dict[str, str]:
        """Return the environment of a run with or without bytecode of sereno and its libraries."""
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.caches[compiled])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if not compiled:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return environment


def print_row(
    command: tuple[str, ...], one: Version, other: Version | None, *, compiled: bool
) -> None:
    """Measure both versions alternately and print the row."""
    seconds, base_seconds = [], []
    for _ in range(REPETITIONS):
        seconds.append(cpu_seconds(one, command, compiled=compiled))
        if other:
            base_seconds.append(cpu_seconds(other, command, compiled=compiled))
    ratio = ""
    if base_seconds:
        ratio = f"{statistics.median(seconds) / statistics.median(base_seconds):.2f}"
    bytecode = "yes" if compiled else "no"
    sys.stdout.write(
        f"| {' '.join(command)} | {bytecode} | {statistics.median(seconds):.2f} | {ratio} |\n"
    )


def cpu_seconds(version: Version, command: tuple[str, ...], *, compiled: bool) -> float:
    """Return the CPU seconds of one command. Raises CalledProcessError if it fails."""
    arguments = [*command, "--config", str(version.config)]
    if command == ("--help",):
        arguments = [*command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [version.root / ".venv/bin/python", "-m", "daemon", *arguments],
        cwd=version.root,
        env=version.environment(compiled=compiled),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
