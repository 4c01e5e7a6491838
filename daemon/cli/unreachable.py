"""Errors of several databases and jobs, grouped by cause: one cause is one paragraph."""

import re
from collections.abc import Sequence

from daemon.cli.output import counted, paint, prose

DISCOVER = "discover"
"""Stands for the name of a job where the databases of a group could not be looked for."""
_NO_SERVER = re.compile(r"Connection refused|on socket .*No such file or directory", re.DOTALL)
"""What libpq says when no server listens; a missing password file is another matter."""


def without_name(database: str, reason: str) -> str:
    """Return an error without the name of its database in front."""
    return reason.removeprefix(f"{database}: ")


def print_unreachable(problems: Sequence[tuple[str, str, str]], noun: str = "run") -> None:
    """Print errors given as job, database and reason; equal reasons are one paragraph."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for job, database, reason in problems:
        groups.setdefault(without_name(database, reason), []).append((job, database))
    for reason, places in groups.items():
        databases = ", ".join(dict.fromkeys(database or "host" for _, database in places))
        prose(f"{paint('FAILED', 'bold red')}  {reason}")
        jobs = list(dict.fromkeys(job for job, _ in places))
        prose(f"{databases}: {counted(len(places), noun)} of {', '.join(jobs)}", indent=8)


def next_step(problems: Sequence[tuple[str, str, str]], command: str) -> str:
    """Return the sentence that ends the output after errors; empty if there are none."""
    reasons = [reason for _, _, reason in problems]
    if any(_NO_SERVER.search(reason) for reason in reasons):
        return f"Start PostgreSQL (systemctl status postgresql), then: {command}"
    if reasons:
        return f"Correct the cause, then: {command}"
    return ""
