"""Steps that read what the host and a server lack; they install nothing."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import sql

from checks import patches, programs
from domain.cause import Cause
from execution.control import StepControl
from execution.step import DatabaseStep, Evidence, HostStep, Outcome, Status
from postgres.session import Session

LIMIT_SECONDS = 300.0
REBOOT_MARK = Path("/run/reboot-required")
_NEEDS_RESTARTING = ("needs-restarting", "-r")
_SERVER = sql.SQL(
    "SELECT current_setting('server_version') AS version, host(inet_server_addr()) AS address"
)


@dataclass(frozen=True, slots=True)
class PackageManager:
    """A package manager: its commands, the reader of its output, and the folders of its lists."""

    program: str
    list_updates: tuple[str, ...]
    updates: Callable[[str], Sequence[patches.Update]]
    """Returns the security updates in the output of `list_updates`."""
    lists: tuple[str, ...]
    refresh: str
    upgrade: str

    def age_days(self) -> int:
        """Return the age of its lists; 0 if there are none to look at."""
        times = [path.stat().st_mtime for path in map(Path, self.lists) if path.exists()]
        return int((time.time() - max(times)) // 86400) if times else 0


MANAGERS = (
    PackageManager(
        "apt-get",
        ("apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"),
        patches.apt_updates,
        ("/var/lib/apt/lists", "/var/lib/apt/lists/partial"),
        "apt-get update",
        "apt-get update && apt-get dist-upgrade",
    ),
    PackageManager(
        "dnf",
        ("dnf", "-q", "-C", "updateinfo", "list", "--security"),
        patches.dnf_updates,
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
        answer = programs.ask(manager.list_updates, LIMIT_SECONDS)
        if answer.wrong:
            return Outcome(Status.FAILED, f"{manager.program}: {answer.wrong}")
        updates = manager.updates(answer.output)
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
    answer = programs.ask(("dpkg-query", "-W", "-f", form, f"postgresql-{major}"), LIMIT_SECONDS)
    status, _, version = answer.output.strip().partition(" ")
    return version if status == "installed" and not answer.wrong else ""


def upgrade_command(major: int) -> str:
    """Return the command that upgrades the packages of a server on this kind of host."""
    manager = installed_manager()
    if manager is not None and manager.program == "dnf":
        return f"dnf upgrade postgresql{major}-server"
    return f"apt-get install --only-upgrade postgresql-{major}"


def _reboot() -> Iterator[Evidence]:
    """Yield a row if the host waits for a reboot."""
    packages = ""
    if REBOOT_MARK.exists():
        listed = REBOOT_MARK.with_name("reboot-required.pkgs")
        names = listed.read_text().split() if listed.exists() else ["a package"]
        packages = ", ".join(dict.fromkeys(names))
    elif shutil.which(_NEEDS_RESTARTING[0]):
        answer = programs.ask(_NEEDS_RESTARTING, LIMIT_SECONDS)
        if answer.code == 1 and "reboot" in answer.output.lower():
            packages = "needs-restarting -r"
    if packages:
        yield {"object": "host", "kind": patches.REBOOT.name, "value": 1, "severity": "warning",
               "packages": packages}  # fmt: skip
