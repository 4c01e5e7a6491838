"""Steps that read what the host and a server lack; they install nothing."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import sql

from checks import patches
from domain.cause import Cause
from execution.control import StepControl
from execution.step import DatabaseStep, Evidence, HostStep, Outcome, Status
from postgres.session import Session

LIMIT_SECONDS = 300.0
MOST_BYTES = 10_000_000
TIMED_OUT = 124
"""The exit code that timeout(1) uses."""
REBOOT_MARK = Path("/run/reboot-required")
_NEEDS_RESTARTING = ("needs-restarting", "-r")
_SERVER = sql.SQL(
    "SELECT current_setting('server_version') AS version, host(inet_server_addr()) AS address"
)


@dataclass(frozen=True, slots=True)
class PackageManager:
    """How one package manager lists its security updates, and where its lists are."""

    program: str
    list_updates: tuple[str, ...]
    lists: tuple[str, ...]
    refresh: str
    upgrade: str

    def updates(self, text: str) -> Sequence[patches.Update]:
        """Return the security updates in its output."""
        if self.program == "apt-get":
            return patches.apt_updates(text)
        return patches.dnf_updates(text)

    def age_days(self) -> int:
        """Return the age of its lists; 0 if there are none to look at."""
        times = [path.stat().st_mtime for path in map(Path, self.lists) if path.exists()]
        return int((time.time() - max(times)) // 86400) if times else 0


MANAGERS = (
    PackageManager(
        "apt-get",
        ("apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"),
        ("/var/lib/apt/lists", "/var/lib/apt/lists/partial"),
        "apt-get update",
        "apt-get update && apt-get dist-upgrade",
    ),
    PackageManager(
        "dnf",
        ("dnf", "-q", "-C", "updateinfo", "list", "--security"),
        ("/var/cache/libdnf5", "/var/cache/dnf"),
        "dnf makecache",
        "dnf upgrade --security",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUpdates(HostStep):
    """Asks the package manager for pending security updates, without network and as nobody else."""

    before: Mapping[str, str]
    """When each pending package was seen first."""
    now: datetime
    name: str = "read"
    object: str = "updates"
    limit_seconds: float = LIMIT_SECONDS

    def statement(self) -> str:
        """Return the command."""
        manager = installed_manager()
        return " ".join(manager.list_updates) if manager else "-- no package manager"

    def apply(self, _control: StepControl) -> Outcome:
        """Run the command; skipped where there is neither apt-get nor dnf."""
        manager = installed_manager()
        if manager is None:
            why = "neither apt-get nor dnf is on this host"
            return Outcome(Status.SKIPPED, why, cause=Cause.NOT_SEEN)
        code, text, error = run(manager.list_updates)
        if code:
            last = error.strip().splitlines()[-1:] or [f"exit code {code}"]
            return Outcome(Status.FAILED, f"{manager.program}: {last[0]}")
        updates = manager.updates(text)
        now = self.now.isoformat()
        since = {one.package: self.before.get(one.package, now) for one in updates}
        found = [*patches.update_rows(updates, since, self.now, manager.upgrade)]
        if (days := manager.age_days()) >= patches.LISTS_DAYS:
            found.append({"object": "package lists", "kind": patches.LISTS.name, "value": days,
                          "severity": "warning", "command": manager.refresh})  # fmt: skip
        found += _reboot()
        return Outcome(
            Status.DONE, rows=len(updates), found=tuple(found), evidence={"since": since}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRelease(DatabaseStep):
    """Compares a server's release with the table of releases and with the installed package."""

    now: datetime
    name: str = "read"
    object: str = "release"
    lock: str = "none"
    limit_seconds: float = LIMIT_SECONDS

    def statement(self) -> str:
        """Return the query."""
        return _SERVER.as_string(None)

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Read the version; the package only of a server on this host."""
        session.set_timeouts(control.remaining_seconds())
        server = session.rows(_SERVER)[0]
        version = session.facts.version
        major = version // 10_000
        rows = [*patches.release_rows(version, patches.read_releases(), self.now.date())]
        if server["address"] is None:  # a socket: it cannot be a tunnel to another host
            rows += patches.restart_row(server["version"], installed_version(major))
        found = tuple({**row, "command": upgrade_command(major)} for row in rows)
        return Outcome(Status.DONE, rows=len(found), found=found)


def installed_manager() -> PackageManager | None:
    """Return the package manager of this host."""
    return next((one for one in MANAGERS if shutil.which(one.program)), None)


def installed_version(major: int) -> str:
    """Return the version of the Debian package of a server; empty if it is not installed."""
    if not shutil.which("dpkg-query"):
        return ""
    form = "${db:Status-Status} ${Version}"
    code, text, _ = run(("dpkg-query", "-W", "-f", form, f"postgresql-{major}"))
    status, _, version = text.strip().partition(" ")
    return version if code == 0 and status == "installed" else ""


def upgrade_command(major: int) -> str:
    """Return the command that upgrades the packages of a server on this kind of host."""
    manager = installed_manager()
    if manager is not None and manager.program == "dnf":
        return f"dnf upgrade postgresql{major}-server"
    return f"apt-get install --only-upgrade postgresql-{major}"


def run(command: Sequence[str]) -> tuple[int, str, str]:
    """Run a program that only reads; return its exit code, output and errors, in English."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs and arguments
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, "", f"no answer within {LIMIT_SECONDS:.0f} s"
    output, errors = (
        one[:MOST_BYTES].decode(errors="replace") for one in (done.stdout, done.stderr)
    )
    return done.returncode, output, errors


def _reboot() -> Iterator[Evidence]:
    """Yield a row if the host waits for a reboot."""
    packages = ""
    if REBOOT_MARK.exists():
        listed = REBOOT_MARK.with_name("reboot-required.pkgs")
        names = listed.read_text().split() if listed.exists() else ["a package"]
        packages = ", ".join(dict.fromkeys(names))
    elif shutil.which(_NEEDS_RESTARTING[0]):
        code, text, _ = run(_NEEDS_RESTARTING)
        if code == 1 and "reboot" in text.lower():
            packages = "needs-restarting -r"
    if packages:
        yield {"object": "host", "kind": patches.REBOOT.name, "value": 1, "severity": "warning",
               "packages": packages}  # fmt: skip
