"""The entry point of `sereno` and `python -m daemon`."""

import io
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    "daemon",
    "migrations",
    "jobs",
    "alerts",
    "checks",
    "retention",
    "execution",
    "postgres",
    "store",
    "domain",
)
MARKER = 'DISTRIBUTION = "sereno"'
CANNOT = 2


def foreign_package() -> str:
    """Return a sentence about a package that is not the one of this distribution; empty if all are.

    The import names are common words: a folder of the same name in the current directory or on
    PYTHONPATH, or another distribution in the same environment, may take their place.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parents[1] != home:
            found = "a folder without __init__.py"
            if origin:
                found = str(origin.parent)
            return (
                f"the package {name!r} is found at {found}, not at {home / name}. "
                "Start sereno in another directory, or unset PYTHONPATH"
            )
        if MARKER not in origin.read_text("utf-8", errors="replace"):
            return (
                f"the package {name!r} at {origin.parent} was overwritten by another distribution. "
                "Install sereno in an environment of its own"
            )
    return ""


def main() -> None:
    """Run the command line, unless a package of sereno comes from elsewhere."""
    for stream in (sys.stdout, sys.stderr):
        # a name that the terminal cannot show must not end a command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    problem = foreign_package()
    if problem:
        sys.stderr.write(f"sereno: {problem}\n")
        raise SystemExit(CANNOT)
    from daemon.cli.main import app

    app(prog_name="sereno")


if __name__ == "__main__":
    main()
