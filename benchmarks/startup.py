"""CPU seconds of the commands that only read the state file, with and without byte code.

`--base` names a checkout of another version with its environment: then the ratio to it is printed.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
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
        config = Path(folder, "config.toml")
        config.write_text(CONFIG.format(folder=folder))
        cpu(ROOT, ("status",), config, compiled=True)
        for command in COMMANDS:
            for compiled in (False, True):
                row(command, config, base, compiled=compiled)


def row(command: tuple[str, ...], config: Path, base: Path | None, *, compiled: bool) -> None:
    """Measure both versions in turns and print the row."""
    ours, theirs = [], []
    for _ in range(TURNS):
        ours.append(cpu(ROOT, command, config, compiled=compiled))
        if base:
            theirs.append(cpu(base, command, config, compiled=compiled))
    ratio = ""
    if theirs:
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}"
    how = "yes" if compiled else "no"
    seconds = statistics.median(ours)
    sys.stdout.write(f"| {' '.join(command)} | {how} | {seconds:.2f} | {ratio} |\n")


def cpu(root: Path, command: tuple[str, ...], config: Path, *, compiled: bool) -> float:
    """Return the CPU seconds of one command; without byte code no cache is read or written."""
    cache = tempfile.mkdtemp(dir=config.parent)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": cache}
    if compiled:
        prefix = config.parent / f"cache-{root.name}"
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(prefix)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
    given = [*command] if command == ("--help",) else [*command, "--config", str(config)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [root / ".venv/bin/python", "-m", "daemon", *given],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
