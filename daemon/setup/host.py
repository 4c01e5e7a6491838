"""Facts about this machine for `sereno init`: its time zone, the log files of the server."""

import re
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from daemon.setup.addresses import Reached, is_local
from daemon.setup.configuration_text import comment, quote
from domain.units import format_size
from postgres.catalog.survey import Server

ZONES = "/usr/share/zoneinfo/"
LOGROTATE = Path("/etc/logrotate.d/postgresql-common")
PACKAGED = "/var/lib/postgresql/"
"""Where Debian's packages keep the data of the servers whose log files logrotate knows."""
MOST_FILES = 10_000
LEAST_PREFIX = 3


def host_timezone(root: Path = Path("/")) -> str:
    """Return the zone of this machine; empty if it cannot be told, or is UTC."""
    try:
        linked = str((root / "etc/localtime").resolve(strict=True))
        name = linked.partition(ZONES)[2]
        if not name or name == "Etc/UTC":
            name = (root / "etc/timezone").read_text("utf-8").strip()
        return ZoneInfo(name).key if name != "Etc/UTC" else ""
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ""


def log_files(server: Server, reached: Reached, logrotate: Path = LOGROTATE) -> Iterator[str]:
    """Yield comment lines about the server's log files, if they are on this machine."""
    if not is_local(server, reached) or not server.data_directory:
        return
    if not server.logging_collector:
        if logrotate.exists() and server.data_directory.startswith(PACKAGED):
            yield ""
            yield from comment(f"Log files of the server: {logrotate} rotates and deletes them.")
        return
    folder = Path(server.data_directory) / (server.log_directory or "log")
    pattern = _pattern(server.log_filename or "")
    if not pattern or any(sign in str(folder) for sign in "*?["):
        return
    found = _sizes(folder, pattern)
    size = f", {len(found)} of them, {format_size(sum(found))} now" if found else ""
    yield ""
    yield from comment(
        f"Proposal. Log files of the server{size}; logging_collector never deletes any. Deleted "
        "after 30 days if the # is taken away; the service needs the right to delete there "
        "(systemd/log-folder.conf)."
    )
    yield "#[[jobs.log_cleanup.files]]"
    yield f"#path = {quote(f'{folder}/{pattern}')}"
    yield '#keep = "30 days"'


def _pattern(name: str) -> str:
    """Return the pattern of the files of log_filename; empty if it would fit other files too."""
    if any(sign in name for sign in "*?[/"):
        return ""
    pattern = re.sub(r"(%[A-Za-z%][-_]?)+", "*", name)
    pattern = re.sub(r"\*+", "*", pattern)
    stem = re.sub(r"\.log$", ".*", pattern)  # .csv and .json beside it
    return stem if len(stem.partition("*")[0]) >= LEAST_PREFIX else ""


def _sizes(folder: Path, pattern: str) -> list[int]:
    """Return the sizes of the files in a folder; none if it cannot be read."""
    sizes: list[int] = []
    try:
        for entry in folder.glob(pattern):
            if entry.is_file() and not entry.is_symlink():
                sizes.append(entry.stat().st_size)
            if len(sizes) >= MOST_FILES:
                break
    except OSError:
        return []
    return sizes
