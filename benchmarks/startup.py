"""CPU seconds of the commands that only read the state file, with and without byte code.

Without byte code means that of sereno and its libraries; the standard library always has it.

`--base` names a checkout of another version with its environment: then the ratio to it is printed.
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
TURNS = 7
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
    """Print a row per command, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="A checkout with a .venv.")
    base = parser.parse_args().base
    sys.stdout.write("| command | byte code | CPU seconds | of the base |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        ours = Version(ROOT, Path(folder, "ours"))
        theirs = Version(base, Path(folder, "base")) if base else None
        for command in COMMANDS:
            for compiled in (False, True):
                row(command, ours, theirs, compiled=compiled)


class Version:
    """A checkout with its environment, a state file and two caches of byte code."""

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
        cpu(self, ("status",), compiled=True)

    def environment(self, *, compiled: bool) -> dict[str, str]:
        """Return the variables of a run with or without byte code of sereno and its libraries."""
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.caches[compiled])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if not compiled:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return environment


def row(command: tuple[str, ...], one: Version, other: Version | None, *, compiled: bool) -> None:
    """Measure both versions in turns and print the row."""
    ours, theirs = [], []
    for _ in range(TURNS):
        ours.append(cpu(one, command, compiled=compiled))
        if other:
            theirs.append(cpu(other, command, compiled=compiled))
    ratio = ""
    if theirs:
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}"
    how = "yes" if compiled else "no"
    seconds = statistics.median(ours)
    sys.stdout.write(f"| {' '.join(command)} | {how} | {seconds:.2f} | {ratio} |\n")


def cpu(version: Version, command: tuple[str, ...], *, compiled: bool) -> float:
    """Return the CPU seconds of one command. Raises CalledProcessError if it fails."""
    given = [*command, "--config", str(version.config)]
    if command == ("--help",):
        given = [*command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [version.root / ".venv/bin/python", "-m", "daemon", *given],
        cwd=version.root,
        env=version.environment(compiled=compiled),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
