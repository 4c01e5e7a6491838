"""The check `backup_age`: is there a young backup, and is it about as large as the one before?

It knows the lists of pgBackRest, barman and WAL-G, and files of pg_dump by a pattern. The programs
run as the user of the service, who has to be able to read the repository.
"""

import glob
import heapq
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from checks import programs
from checks.check import Header, NotSeen, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from checks.sql_check import BadCheckError
from postgres.session import Session

SECONDS = 60.0
MOST_FILES = 10_000
STILL_WRITTEN_SECONDS = 600.0
"""A file that has changed since then may not be complete."""
_WITHOUT_BACKUP = {0, 1, 2, 3}
"""The status codes of pgBackRest for a stanza that is well, or has no backup; others are errors."""
_OPTIONS = {
    "tool": Option("", 'program that lists the backups: "pgbackrest", "barman" or "wal-g"'),
    "server": Option("", "stanza of pgBackRest, server of barman"),
    "files": Option("", "pattern of files that pg_dump writes, like /var/backups/coop-*.dump"),
    "warning": Option(26, "hours since the end of the newest backup"),
    "high": Option(52, "hours since the end of the newest backup"),
    "full_warning": Option(180, "hours since the newest full backup"),
    "full_high": Option(360, "hours since the newest full backup"),
    "least_size": Option(0.5, "share of the size of the one before: a smaller backup is high"),
}


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup: its end as seconds of the epoch, and its size in bytes if it is known."""

    name: str
    ended: float
    size: int | None
    is_full: bool = True


def of_pgbackrest(text: str, server: str) -> Iterator[Backup]:
    """Yield the backups in the output of `pgbackrest info --output=json`."""
    stanzas = [one for one in json.loads(text) if server in {"", one["name"]}]
    if len(stanzas) > 1:
        raise NotSeen("pgbackrest lists several stanzas: set checks.backup_age.server")
    for stanza in stanzas:
        if stanza["status"]["code"] not in _WITHOUT_BACKUP:
            raise NotSeen(f"pgbackrest: {stanza['status']['message']}")
        for one in stanza["backup"]:
            if not one.get("error"):
                size, ended = one["info"]["size"], one["timestamp"]["stop"]
                yield Backup(one["label"], float(ended), int(size), one["type"] == "full")


def of_barman(text: str, server: str) -> Iterator[Backup]:
    """Yield the backups in the output of `barman --format json list-backups`."""
    for name, backups in json.loads(text).items():
        if name != server:
            continue
        for one in backups:
            if one["status"] in {"DONE", "WAITING_FOR_WALS"}:
                ended, size = one["end_time_timestamp"], one["size_bytes"]
                yield Backup(one["backup_id"], float(ended), int(size))


def of_wal_g(text: str, _server: str) -> Iterator[Backup]:
    """Yield the backups in the output of `wal-g backup-list --detail --json`."""
    for one in json.loads(text) or ():
        ended = one.get("finish_time") or one["time"]
        full = "_D_" not in one["backup_name"]
        size = one.get("compressed_size")
        yield Backup(one["backup_name"], datetime.fromisoformat(ended).timestamp(), size, full)


_TOOLS = {
    "pgbackrest": (("pgbackrest", "--output=json", "info"), of_pgbackrest),
    "barman": (("barman", "--format", "json", "list-backups"), of_barman),
    "wal-g": (("wal-g", "backup-list", "--detail", "--json"), of_wal_g),
}


def of_files(pattern: str, now: float) -> Sequence[Backup]:
    """Return the newest files of a pattern; a folder (pg_dump -Fd) counts by its files.

    Links to the same file count once; a file that is still being written is left out while an
    older one is there. Raises NotSeen if the folder cannot be listed.
    """
    folder = Path(re.split(r"[*?\[]", pattern, maxsplit=1)[0]).parent
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise NotSeen(f"the user of the service may not list {folder}")
    names = {os.path.realpath(name) for name in glob.iglob(pattern)}  # noqa: PTH207 - a whole path
    found = [one for name in names if (one := _file(Path(name))) is not None]
    newest = heapq.nlargest(MOST_FILES, found, key=lambda one: one.ended)
    finished = [one for one in newest if now - one.ended >= STILL_WRITTEN_SECONDS]
    return finished or newest


def _file(path: Path) -> Backup | None:
    """Return a file or a folder as a backup; None if it has vanished."""
    try:
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        states = [one.stat() for one in files]
    except OSError:
        return None
    if not states:
        return None
    ended = max(state.st_mtime for state in states)
    return Backup(str(path), ended, sum(state.st_size for state in states))


def backup_rows(
    backups: Iterable[Backup], options: OptionValues, where: str, now: float
) -> Iterator[Row]:
    """Yield a row if the newest backup, or the newest full one, is too old or too small."""
    known = sorted(backups, key=lambda one: one.ended)
    if not known:
        yield _row(where, "high", 0, "no backup", "no hay copias")
        return
    fulls = [one for one in known if one.is_full]
    yield from _age_row(known[-1:], options, where, "", now)
    yield from _age_row(fulls[-1:], options, f"{where} (full)", "full_", now)
    if fulls and fulls[-1].size == 0:
        name = fulls[-1].name
        yield _row(f"{where} (size)", "high", 0, f"{name} is empty", f"{name} está vacía")
    for before, last in zip(fulls[-2:-1], fulls[-1:], strict=False):
        if before.size and last.size and last.size < _number(options["least_size"]) * before.size:
            sizes = f"{last.size / 1e6:,.1f} MB / {before.size / 1e6:,.1f} MB"
            yield _row(
                f"{where} (size)",
                "high",
                last.size,
                f"{last.name} is much smaller than the one before ({sizes})",
                f"{last.name} es mucho menor que la anterior ({sizes})",
            )


def _age_row(
    newest: Sequence[Backup], options: OptionValues, where: str, kind: str, now: float
) -> Iterator[Row]:
    """Yield a row if the newest backup of a kind is too old, or if there is none."""
    if not newest:
        yield _row(where, "high", 0, "no full backup", "no hay copia completa")
        return
    name, hours = newest[0].name, (now - newest[0].ended) / 3600
    if severity := _severity(hours, options, kind):
        old = f"{hours:,.0f}"
        yield _row(
            where, severity, hours, f"{name}, {old} hours old", f"{name}, de hace {old} horas"
        )


def _row(where: str, severity: str, value: float, english: str, spanish: str) -> Row:
    return {
        "object": where,
        "severity": severity,
        "value": value,
        "what": english,
        "what_es": spanish,
    }


def _severity(hours: float, options: OptionValues, kind: str) -> str:
    for severity in ("high", "warning"):
        if hours >= _number(options[f"{kind}{severity}"]):
            return severity
    return ""


def _number(value: object) -> float:
    return float(str(value))


def _listed(tool: str, server: str) -> Sequence[Backup]:
    """Return the backups that a program lists. Raises NotSeen if it cannot be asked."""
    if tool not in _TOOLS:
        raise BadCheckError(f"checks.backup_age.tool: {tool!r} is not one of {', '.join(_TOOLS)}")
    command, read = _TOOLS[tool]
    if not shutil.which(tool):
        raise NotSeen(f"{tool} is not on this host: run a sereno where the backups are listed")
    arguments = [*command, server] if tool == "barman" else command
    answer = programs.ask(arguments, SECONDS)
    if answer.wrong:
        raise NotSeen(f"{tool}: {answer.wrong} (the user of the service has to be able to run it)")
    try:
        return list(read(answer.output, server))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotSeen(f"{tool}: its list could not be read: {error!r}") from None


def _ask(_session: Session | None, options: OptionValues) -> Sequence[Row]:
    tool, files = str(options["tool"]), str(options["files"])
    if not tool and not files:
        english = "no backup is known to sereno: set checks.backup_age.tool or .files"
        spanish = "sereno no conoce ninguna copia: configurar checks.backup_age.tool o .files"
        return [_row("backups", "info", 0, english, spanish)]
    rows: list[Row] = []
    now = time.time()
    if tool:
        server = str(options["server"])
        where = f"{tool} {server}".strip()
        rows += backup_rows(_listed(tool, server), options, where, now)
    if files:
        rows += backup_rows(of_files(files, now), options, files, now)
    return rows


def _describe(options: OptionValues) -> str:
    commands = [" ".join(_TOOLS[str(options["tool"])][0])] if options["tool"] in _TOOLS else []
    return "; ".join([*commands, *filter(None, [str(options["files"])])]) or "nothing"


CHECK = ModuleCheck(
    Header(
        name="backup_age",
        title="The newest backup is too old, or too small",
        scope="cluster",
        options=_OPTIONS,
        summary="{what}",
        remedy="look at the log of the backup, run it by hand, and try a restore",
        es={
            "title": "La copia de seguridad más reciente es demasiado antigua o demasiado pequeña",
            "summary": "{what_es}",
            "remedy": "mirar el registro de la copia, ejecutarla a mano y probar una restauración",
        },
        source="the lists of pgBackRest, barman and WAL-G; the time and size of files",
        cost="scan",
    ),
    _ask,
    _describe,
)
