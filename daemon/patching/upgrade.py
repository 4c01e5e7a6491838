"""The patch unit's work, as root: one minor upgrade inside its window, step by step."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from checks import programs
from daemon.patching.clusters import LIST_CLUSTERS, Cluster, read_clusters
from daemon.patching.packages import (
    LIST_INSTALLED,
    PackageUpgrade,
    RefusedError,
    installation,
    installed_packages,
    planned_upgrades,
    simulation,
)
from daemon.patching.service import Service
from daemon.patching.settings import PatchSettings
from daemon.patching.upgrade_report import MOST_TEXT, ReportedStep, UpgradeReport
from domain.calendar import Due
from execution.step import Status

SECONDS = 600.0
ANSWER_SECONDS = 120.0
REJECTS = 1
"""The exit code of pg_isready for a server that starts up, or a standby without hot_standby."""
_APT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",  # it would restart other services
    "LC_ALL": "C.UTF-8",
}


class StoppedError(Exception):
    """A step failed: nothing after it is done. The text is the reason."""


@dataclass(slots=True)
class Upgrade:
    """One attempt: the settings, the service, and the steps that have ended."""

    settings: PatchSettings
    service: Service
    clock: Callable[[], datetime]
    say: Callable[[str], None]
    steps: list[ReportedStep] = field(default_factory=list)

    def run(self, due: Due) -> UpgradeReport:
        """Do everything that the settings and the service allow in an open window."""
        started = self.clock()
        state, reason = "finished", ""
        try:
            reason = self._upgrade()
        except RefusedError as refusal:
            state, reason = "skipped", str(refusal)
        except StoppedError as error:
            # nothing was changed before: the next look may succeed
            begun = any(step.name == "upgrade" for step in self.steps)
            state, reason = "failed" if begun else "skipped", str(error)
        return UpgradeReport(
            nominal=due.nominal,
            started=started,
            state=state,
            reason=reason[:MOST_TEXT],
            steps=tuple(self.steps),
        )

    def _upgrade(self) -> str:
        with self._step("refresh", "package lists"):
            execute(("apt-get", "update", "-q", "-o", "DPkg::Lock::Timeout=300"))
        upgrades = self.pending()
        if not upgrades:
            return "no minor release is pending"
        if objections := self.service.objections(hold=True):
            raise RefusedError(f"{listed(upgrades)}: {'; '.join(objections)}")
        if self.settings.open_window(self.clock()) is None:
            raise RefusedError(f"{listed(upgrades)}: the window has ended")
        clusters = [one for one in self._clusters() if one.is_running]
        with self._step("upgrade", shortened(upgrades)):
            self._install(upgrades)
        failed = list(filter(None, map(self._restarted, clusters)))
        if failed:
            raise StoppedError("; ".join(failed))
        return f"installed {listed(upgrades)}"

    def pending(self) -> Sequence[PackageUpgrade]:
        """Return the upgrades of all major versions. Raises RefusedError, StoppedError."""
        found: list[PackageUpgrade] = []
        table = output(LIST_INSTALLED)
        for major in self.settings.majors:
            if names := installed_packages(table, major):
                found += planned_upgrades(output(simulation(names)), names, major)
        return found

    def _install(self, upgrades: Sequence[PackageUpgrade]) -> None:
        """Install exact versions; what apt had installed as a dependency stays marked as one."""
        names = [one.package for one in upgrades]
        automatic = output(("apt-mark", "showauto", *names)).split()
        execute(installation(upgrades))
        if automatic:
            execute(("apt-mark", "auto", *automatic))

    def _clusters(self) -> Sequence[Cluster]:
        try:
            return read_clusters(output(LIST_CLUSTERS), self.settings.majors)
        except ValueError as error:
            raise StoppedError(str(error)) from None

    def _restarted(self, cluster: Cluster) -> str:
        """Return what went wrong with a server after the upgrade, or the empty text.

        One that its package has not restarted is restarted: the one place where sereno ends the
        sessions of others.
        """
        try:
            if cluster.runs_replaced_program():
                with self._step("restart", str(cluster)):
                    execute(cluster.restart_command())
            with self._step("answer", str(cluster)):
                wait_for_answer(cluster)
        except StoppedError as error:
            return str(error)
        return ""

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        """Record a step; an error ends the attempt. Raises StoppedError."""
        self.say(f"{name} {what}")
        began, status, reason = time.monotonic(), Status.DONE, ""
        try:
            yield
        except StoppedError as error:
            status, reason = Status.FAILED, str(error)
            raise StoppedError(f"{name} {what}: {error}") from None
        finally:
            self.steps.append(
                ReportedStep(
                    name=name,
                    object=what[:MOST_TEXT],
                    status=status,
                    reason=reason[:MOST_TEXT],
                    seconds=time.monotonic() - began,
                )
            )


def listed(upgrades: Sequence[PackageUpgrade]) -> str:
    """Return upgrades as text: `postgresql-15 15.18-0+deb12u1 → 15.20-0+deb12u1`."""
    return ", ".join(f"{one.package} {one.old} → {one.new}" for one in upgrades)


def shortened(upgrades: Sequence[PackageUpgrade]) -> str:
    """Return upgrades as a short text, the server before libraries and clients."""
    first = min(upgrades, key=lambda one: re.fullmatch(r"postgresql-\d+", one.package) is None)
    more = f" and {len(upgrades) - 1} more" if len(upgrades) > 1 else ""
    return listed([first]) + more


def wait_for_answer(cluster: Cluster) -> None:
    """Wait until a server accepts connections. Raises StoppedError after ANSWER_SECONDS."""
    ends = time.monotonic() + ANSWER_SECONDS
    while (code := programs.ask(cluster.ready_command(), SECONDS).code) != 0:
        if time.monotonic() > ends:
            why = "rejects connections" if code == REJECTS else "does not answer"
            raise StoppedError(f"the server {why}; its log says why")
        time.sleep(1)


def output(command: Sequence[str]) -> str:
    """Return the output of a command that only reads. Raises StoppedError."""
    try:
        answer = programs.ask(command, SECONDS)
    except OSError as error:
        raise StoppedError(f"{command[0]}: {error.strerror}") from None
    if answer.wrong:
        raise StoppedError(f"{' '.join(command[:2])}: {answer.wrong}")
    return answer.output


def execute(command: Sequence[str]) -> None:
    """Run a command whose output goes to the journal. Raises StoppedError.

    It is never ended: a package manager that is killed leaves a broken package.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs; names come from the package manager
            command, stdin=subprocess.DEVNULL, env={**os.environ, **_APT}, check=False
        )
    except OSError as error:
        raise StoppedError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise StoppedError(
            f"{command[0]} ended with exit code {done.returncode}; journalctl -u sereno-patch"
        )
