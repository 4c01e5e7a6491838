"""Notifications to systemd: sd_notify(3), one datagram each."""

import os
import socket
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice

from daemon.scheduling.timetable import Timing
from domain.task import Task


def notify(*states: str) -> None:
    """Send states such as `READY=1` in one message; failures are ignored."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    message = "\n".join(state.replace("\n", " ") for state in states).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
        way.settimeout(1.0)
        try:
            way.sendto(message, "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return


def under_systemd() -> bool:
    """Return whether systemd waits for notifications."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def status_text(running: Collection[Task], timings: Mapping[str, Timing], now: datetime) -> str:
    """Return the running tasks and the next due time as text."""
    runs = ", ".join(f"{task.job} {task.database}".strip() for task in running) or "idle"
    dues = [
        (due.instant, name)
        for name, timing in timings.items()
        for due in islice(timing.upcoming(now), 1)
    ]
    if not dues:
        return runs
    instant, name = min(dues)
    return f"{runs}; next: {name} {instant.astimezone(timings[name].zone):%a %Y-%m-%d %H:%M %Z}"


def notify_reloading() -> None:
    """Announce a reload; `READY=1` ends it. systemd 253 requires the monotonic time."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """Return systemd's watchdog interval for this process; None if it has none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if microseconds.isdigit() and int(microseconds):
        return int(microseconds) / 1e6
    return None
