"""The installed Debian packages of one major version, and what apt would upgrade. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LIST_INSTALLED = (
    "dpkg-query",
    "-W",
    "-f",
    "${db:Status-Want} ${db:Status-Status} ${source:Package} ${Package} ${Version}\n",
)
_CHANGE = re.compile(
    r"^(?P<verb>Inst|Remv) (?P<name>[^\s:]+)\S*(?: \[(?P<old>[^\]]*)\])?(?: \((?P<new>\S+))?"
)


class RefusedError(Exception):
    """An upgrade that is not allowed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class PackageUpgrade:
    """One installed package, and the version that would replace its version."""

    package: str
    old: str
    new: str


def simulation(names: Sequence[str]) -> Sequence[str]:
    """Return the command that says what an upgrade of these installed packages would change."""
    return ("apt-get", "-s", "-q", *_ONLY_UPGRADE, "install", *names)


def installation(upgrades: Sequence[PackageUpgrade]) -> Sequence[str]:
    """Return the command that installs exactly these versions; configuration files stay."""
    exact = [f"{one.package}={one.new}" for one in upgrades]
    return ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300",
            "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
            "--no-remove", *_ONLY_UPGRADE, "install", *exact)  # fmt: skip


_ONLY_UPGRADE = ("--only-upgrade", "--no-install-recommends")


def installed_packages(text: str, major: int) -> Sequence[str]:
    """Return the packages built from PostgreSQL's own source of a major version.

    `text` is the output of LIST_INSTALLED. Extensions have sources of their own; a package on hold
    is left out.
    """
    rows = [line.split() for line in text.splitlines()]
    wanted = ["install", "installed", f"postgresql-{major}"]
    return sorted({row[3] for row in rows if row[:3] == wanted})


def planned_upgrades(text: str, known: Sequence[str], major: int) -> Sequence[PackageUpgrade]:
    """Return the upgrades that a simulation of apt-get shows. Raises RefusedError.

    Refused: a removal, a package that is not installed or of another source, a major version.
    """
    found: dict[str, PackageUpgrade] = {}
    for change in (
        match.groupdict() for line in text.splitlines() if (match := _CHANGE.match(line))
    ):
        found[change["name"]] = _allowed(change, known, major)
    return list(found.values())


def _allowed(change: Mapping[str, str | None], known: Sequence[str], major: int) -> PackageUpgrade:
    """Return a change as an upgrade. Raises RefusedError if it is anything else."""
    name, old, new = str(change["name"]), change["old"], change["new"]
    if change["verb"] == "Remv":
        raise RefusedError(f"apt would remove {name}; upgrade by hand")
    if name not in known or old is None or new is None:
        raise RefusedError(f"apt would also change {name}, which is not of PostgreSQL {major}; "
                           "upgrade by hand")  # fmt: skip
    if not _upstream(old).startswith(f"{major}.") or not _upstream(new).startswith(f"{major}."):
        raise RefusedError(f"{name} {old} → {new} is not a minor release of {major}")
    return PackageUpgrade(name, old, new)


def _upstream(version: str) -> str:
    """Return a Debian version without its epoch."""
    return version.rpartition(":")[2]
