"""Missing releases of the server, missing updates of the host, and restarts that are due."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import resources

from checks.check import Header, Row

STALE = timedelta(days=100)
"""A table of releases of this age may lack one: releases come every three months."""
ENDS_SOON = timedelta(days=180)
PENDING_DAYS = 14
"""A security update that has been pending for this long is high."""
LISTS_DAYS = 7
MOST_NAMED = 20
_APT = re.compile(r"^Inst (?P<name>\S+) (?:\[[^\]]*\] )?\((?P<version>\S+) (?P<origin>[^)]*)\)")
_DNF = re.compile(
    r"(?P<name>\w[\w+.-]*?)-(?P<version>(?:\d+:)?\d[^-\s]*-[^-\s]+)"
    r"\.(?:noarch|x86_64|aarch64|ppc64le|s390x|i[3-6]86)"
)


@dataclass(frozen=True, slots=True)
class Releases:
    """The newest minor release and the end of support of each major version, known on a day."""

    dated: date
    minors: Mapping[int, int]
    ends: Mapping[int, date]


@dataclass(frozen=True, slots=True)
class Update:
    """A security update that the host's package manager would install."""

    package: str
    version: str


def read_releases() -> Releases:
    """Return the table of releases of this package."""
    text = (resources.files("checks") / "data" / "postgresql_releases.toml").read_text("utf-8")
    table = tomllib.loads(text)
    rows = {int(major): row for major, row in table["releases"].items()}
    return Releases(
        table["dated"],
        {major: row["minor"] for major, row in rows.items()},
        {major: row["ends"] for major, row in rows.items()},
    )


def release_rows(version: int, releases: Releases, today: date) -> Iterator[Row]:
    """Yield a row for each fault of a server's release; `version` is its number, like 150014."""
    major, minor = divmod(version, 10_000)
    row = {"object": "server", "running": f"{major}.{minor}", "major": major}
    newest = releases.minors.get(major)
    if newest is not None and minor < newest:
        yield {**row, "kind": BEHIND.name, "value": newest - minor, "severity": "warning",
               "newest": f"{major}.{newest}"}  # fmt: skip
    ends = releases.ends.get(major)
    if ends is None and major < min(releases.ends):
        yield {**row, "kind": ENDS.name, "value": 0, "severity": "high", "day": "…"}
    elif ends is not None and today >= ends - ENDS_SOON:
        severity = "high" if today > ends else "warning"
        left = (ends - today).days
        yield {**row, "kind": ENDS.name, "value": left, "severity": severity, "day": str(ends)}
    if today - releases.dated >= STALE:
        yield {"object": "releases", "kind": TABLE.name, "value": (today - releases.dated).days,
               "severity": "info", "day": str(releases.dated)}  # fmt: skip


def restart_row(running: str, installed: str) -> Iterator[Row]:
    """Yield a row if a server of a Debian package runs another version than the installed one.

    `running` is `server_version`, like `15.14 (Debian 15.14-0+deb12u1)`; any other build is left
    out, for nothing says which package it belongs to.
    """
    match = re.search(r"\((?:Debian|Ubuntu) ([^)]+)\)", running)
    if match and installed and match[1] != installed:
        yield {"object": "server", "kind": RESTART.name, "value": 1, "severity": "high",
               "running": match[1], "installed": installed}  # fmt: skip


def apt_updates(text: str) -> Sequence[Update]:
    """Return the security updates in the output of `apt-get -s dist-upgrade` (LC_ALL=C)."""
    found = (_APT.match(line) for line in text.splitlines())
    return [
        Update(one["name"], one["version"])
        for one in found
        if one and "security" in one["origin"].lower()
    ]


def dnf_updates(text: str) -> Sequence[Update]:
    """Return the packages in the output of `dnf updateinfo list --security`, of dnf 4 and 5.

    Only packages end in an architecture; of two updates of one package the last counts.
    """
    found: dict[str, Update] = {}
    for word in text.split():
        if match := _DNF.fullmatch(word):
            found[match["name"]] = Update(match["name"], match["version"])
    return list(found.values())


def update_rows(
    updates: Sequence[Update], since: Mapping[str, str], now: datetime, command: str
) -> Iterator[Row]:
    """Yield a row if security updates are pending; `since` says when each was seen first."""
    if not updates:
        return
    days = max((now - datetime.fromisoformat(since[one.package])).days for one in updates)
    named = [f"{one.package} {one.version}" for one in updates[:MOST_NAMED]]
    more = f" (+{len(updates) - MOST_NAMED})" if len(updates) > MOST_NAMED else ""
    yield {
        "object": "security updates",
        "kind": UPDATES.name,
        "value": len(updates),
        "severity": "high" if days >= PENDING_DAYS else "warning",
        "days": days,
        "packages": ", ".join(named) + more,
        "command": command,
    }


def _header(name: str, scope: str, english: Sequence[str], spanish: Sequence[str]) -> Header:
    """Return a header; the texts are title, summary and remedy."""
    title, summary, remedy = english
    return Header(
        name=name,
        title=title,
        scope="cluster" if scope == "cluster" else "host",
        summary=summary,
        remedy=remedy,
        es=dict(zip(("title", "summary", "remedy"), spanish, strict=True)),
        source="the job security_patches",
    )


BEHIND = _header(
    "server_behind",
    "cluster",
    (
        "The server lacks minor releases",
        "it runs {running}; {newest} is out",
        "install {newest} ({command}) and restart the server; read the release notes first",
    ),
    (
        "Al servidor le faltan versiones menores",
        "ejecuta {running}; existe {newest}",
        "instalar {newest} ({command}) y reiniciar el servidor; leer antes las notas de la versión",
    ),
)
ENDS = _header(
    "server_end_of_life",
    "cluster",
    (
        "The server's major version gets no more fixes",
        "support of {major} ends or ended on {day}",
        "plan pg_upgrade to a newer major version; sereno never does it",
    ),
    (
        "La versión mayor del servidor deja de recibir correcciones",
        "el soporte de {major} termina o terminó el {day}",
        "planificar pg_upgrade a una versión mayor más nueva; sereno nunca lo hace",
    ),
)
RESTART = _header(
    "server_not_restarted",
    "cluster",
    (
        "The server runs an older version than the installed one",
        "it runs {running}, {installed} is installed",
        "restart it in a maintenance window: systemctl restart postgresql",
    ),
    (
        "El servidor ejecuta una versión anterior a la instalada",
        "ejecuta {running}, está instalada {installed}",
        "reiniciarlo en una ventana de mantenimiento: systemctl restart postgresql",
    ),
)
TABLE = _header(
    "releases_unknown",
    "cluster",
    (
        "The table of PostgreSQL releases is old",
        "it is of {day}: newer releases are not known to this sereno",
        "upgrade sereno; until then look at https://www.postgresql.org/support/versioning/",
    ),
    (
        "La tabla de versiones de PostgreSQL es antigua",
        "es del {day}: este sereno no conoce versiones posteriores",
        "actualizar sereno; hasta entonces, ver https://www.postgresql.org/support/versioning/",
    ),
)
UPDATES = _header(
    "os_security_updates",
    "host",
    (
        "Security updates of the host are pending",
        "{value} for {days} days: {packages}",
        "{command}",
    ),
    (
        "Hay actualizaciones de seguridad pendientes en la máquina",
        "{value} desde hace {days} días: {packages}",
        "{command}",
    ),
)
LISTS = _header(
    "package_lists_old",
    "host",
    (
        "The package lists of the host are old",
        "{value} days old: newer security updates are not seen",
        "{command}",
    ),
    (
        "Las listas de paquetes de la máquina son antiguas",
        "tienen {value} días: no se ven actualizaciones posteriores",
        "{command}",
    ),
)
REBOOT = _header(
    "reboot_required",
    "host",
    (
        "The host waits for a reboot",
        "installed, but not in use: {packages}",
        "reboot in a maintenance window",
    ),
    (
        "La máquina espera un reinicio",
        "instalado, pero no en uso: {packages}",
        "reiniciar en una ventana de mantenimiento",
    ),
)
HEADERS: Mapping[str, Header] = {
    one.name: one for one in (BEHIND, ENDS, RESTART, TABLE, UPDATES, LISTS, REBOOT)
}
"""The headers of the findings of the job `security_patches`."""
