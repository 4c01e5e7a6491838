"""The check `disk`: bytes and inodes of every mount that a server or sereno writes to."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from checks.check import Header, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from postgres.session import Session

GIGABYTE = 1024**3
FOLLOWED_SHARE = 0.5
"""No forecast for an emptier disk: it grew by single loads."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder in use; `hidden` is the reason why it cannot be read."""

    use: str
    path: str
    hidden: str = ""


def _ask(_session: Session | None, options: OptionValues) -> Sequence[Row]:
    """Return a row per mount and a row per unreadable folder."""
    folders = options.get("folders", ())
    mounts: dict[int, list[Folder]] = {}
    unseen: list[Folder] = []
    for folder in folders if isinstance(folders, Iterable) else ():
        try:
            if folder.hidden:
                raise PermissionError(folder.hidden)
            mounts.setdefault(Path(folder.path).stat().st_dev, []).append(folder)
        except OSError as error:
            unseen.append(
                Folder(folder.use, folder.path, folder.hidden or error.strerror or str(error))
            )
    rows = [row for uses in mounts.values() for row in _mount(uses, options)]
    return rows + [_unseen(folder) for folder in unseen]


def _mount(uses: Sequence[Folder], options: OptionValues) -> Iterable[Row]:
    path = uses[0].path
    state = os.statvfs(path)
    used_for = ", ".join(dict.fromkeys(folder.use for folder in uses))
    total, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
    share = 0.0
    if total:
        share = 1 - free / total
    room = free / GIGABYTE
    yield {
        "object": _mount_point(path),
        "value": share,
        "severity": _severity(share, room, options),
        "summary": (
            f"{share:.0%} full, {room:.1f} GB free of {total / GIGABYTE:.1f} GB; used for "
            f"{used_for}"
        ),
        "paths": [folder.path for folder in uses],
        "free_bytes": free,
        "total_bytes": total,
        "level": total - free if share >= FOLLOWED_SHARE else None,
        "limit": total,
        "kind": "bytes",
    }
    if state.f_files:
        taken = 1 - state.f_favail / state.f_files
        yield {
            "object": f"{_mount_point(path)} (inodes)",
            "value": taken,
            "severity": _severity(taken, 0.0, options),
            "summary": f"{taken:.0%} of inodes used, {state.f_favail} free; used for {used_for}",
            "kind": "inodes",
        }


def _severity(share: float, room: float, options: OptionValues) -> str:
    """Return the severity by relative and absolute limits.

    A share alone would alarm for a free terabyte.
    """
    for name in ("critical", "high", "warning"):
        if share >= float(str(options[name])) and room < float(str(options[f"{name}_free_gb"])):
            return name
    return "none"


def _unseen(folder: Folder) -> Row:
    return {
        "object": folder.path or folder.use,
        "value": None,
        "severity": "info",
        "summary": f"{folder.use}: {folder.hidden}",
        "kind": "unseen",
    }


def _mount_point(path: str) -> str:
    place = Path(path).resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return str(place)


CHECK = ModuleCheck(
    Header(
        name="disk",
        title="A disk is filling up",
        scope="host",
        options={
            "warning": Option(0.80, "share used, of bytes or inodes"),
            "warning_free_gb": Option(50, "and less than this many GB free"),
            "high": Option(0.90, "share used"),
            "high_free_gb": Option(20, "and less than this many GB free"),
            "critical": Option(0.95, "share used"),
            "critical_free_gb": Option(10, "and less than this many GB free"),
            "days_warning": Option(30, "days left at the pace of the last week, from half full on"),
            "days_high": Option(7, "days left"),
            "days_critical": Option(2, "days left"),
        },
        forecast=True,
        summary="{summary}{days_left}",
        remedy=(
            "free space on {object}: old logs, WAL retained by a slot or a failing archiver, or "
            "a larger disk"
        ),
        es={
            "title": "Un disco se está llenando",
            "summary": "{object} está casi lleno{days_left_es}",
            "remedy": "liberar espacio en {object}: logs viejos, WAL retenido por una ranura o por "
            "un archivado que falla, o un disco mayor",
        },
        source="statvfs(3); pg_tablespace_location, data_directory, log_directory",
    ),
    _ask,
    lambda _options: "statvfs of data directory, WAL, tablespaces, logs and state",
)
