"""The worker of a run: a process, named so that no other one is ever taken for it."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Worker:
    """A process: its host, the boot of the host, its number, and when it began.

    `began` is in clock ticks since the boot (proc(5), field 22 of stat); the kernel gives a number
    to another process later, but not in the same tick.
    """

    host: str
    boot: str
    process: int
    began: int

    def __str__(self) -> str:
        """Return it as one word for each part; a name of a host has no spaces."""
        return f"{self.host} {self.boot} {self.process} {self.began}"

    @property
    def name(self) -> str:
        """Return it for people."""
        return f"process {self.process} on {self.host}"

    def is_running(self) -> bool | None:
        """Return whether it still runs; None for one of another host, which cannot be seen here."""
        here = this_worker()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            return False
        return _began(self.process) == self.began


def parse_worker(text: str) -> Worker | None:
    """Parse what `str` returned; None for anything else, as in runs of an older version."""
    parts = text.split()
    if len(parts) != 4 or not (parts[2].isdecimal() and parts[3].isdecimal()):  # noqa: PLR2004
        return None
    return Worker(parts[0], parts[1], int(parts[2]), int(parts[3]))


def this_worker() -> Worker:
    """Return this process."""
    return _worker(os.getpid())


@cache
def _worker(process: int) -> Worker:
    """Return a process of this host; a child made by fork is another one."""
    boot = _BOOT.read_text("ascii").strip() if _BOOT.exists() else "unknown"
    host = "-".join(socket.gethostname().split()) or "localhost"
    return Worker(host, boot, process, _began(process) or 0)


def _began(process: int) -> int | None:
    """Return when a process began; None if there is none, or only its body."""
    try:
        status = Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    # the fields after the name, which is in parentheses and may contain anything
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
