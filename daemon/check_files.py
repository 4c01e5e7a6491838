"""The operator's files of checks: a file that is dropped in, changed or removed is noticed."""

from collections.abc import Sequence
from pathlib import Path

from checks.registry import broken_checks
from daemon.context import Context
from domain.finding import Finding, Identity, Severity
from domain.kinds import CONFIGURATION_INVALID

Stamp = frozenset[tuple[str, int, int]]
"""The name, time and size of each file."""


def stamp_of(folder: Path) -> Stamp:
    """Return the state of the files of a folder; empty if it cannot be read."""
    found = set()
    try:
        for path in folder.glob("*.sql"):
            state = path.stat()
            found.add((path.name, state.st_mtime_ns, state.st_size))
    except OSError:
        return frozenset()
    return frozenset(found)


def unusable_files(context: Context) -> Sequence[Finding]:
    """Return a finding for each file that cannot be used; all other checks run."""
    instance = context.config.daemon.name
    return [
        Finding(
            Identity(CONFIGURATION_INVALID.name, instance, object=one.header.name),
            Severity.HIGH,
            f"a check does not run: {one.problem}",
            remedy="correct or remove the file; sereno config check names what is wrong",
        )
        for one in broken_checks(context.checks)
    ]


class CheckFiles:
    """Says when the files have changed, once they have stayed the same for two looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded = self._last = stamp_of(folder)

    def changed(self) -> bool:
        """Return whether other files than the loaded ones are there, and complete."""
        before, self._last = self._last, stamp_of(self._folder)
        if self._last == self._loaded or self._last != before:
            return False
        self._loaded = self._last
        return True


def invalid_configuration(context: Context, error: Exception, worker: str = "") -> Finding:
    """Return the finding that a reload was refused; in a fleet, by which worker."""
    identity = Identity(CONFIGURATION_INVALID.name, context.config.daemon.name, object=worker)
    where, unit = (f" in {worker}", f"sereno-worker@{worker}") if worker else ("", "sereno")
    summary = f"the old configuration stays in force{where}: {error}"
    remedy = f"sereno config check; then systemctl reload {unit}"
    return Finding(identity, Severity.HIGH, summary, remedy=remedy)
