"""The PostgreSQL clusters of a Debian host, as `pg_lsclusters` lists them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_REPLACED = " (deleted)"
"""proc(5): the end of the link to a program whose file has been replaced."""
LIST_CLUSTERS = ("pg_lsclusters", "--json")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster; `folder` is its data directory."""

    major: int
    name: str
    port: str
    socket_folder: str
    folder: Path
    is_running: bool

    def __str__(self) -> str:
        """Return its name as Debian writes it, like 15/main."""
        return f"{self.major}/{self.name}"

    def restart_command(self) -> Sequence[str]:
        """Return the command that restarts it, under systemd if that runs it."""
        return ("pg_ctlcluster", str(self.major), self.name, "restart")

    def ready_command(self) -> Sequence[str]:
        """Return the command that says whether the server accepts connections (pg_isready)."""
        program = f"/usr/lib/postgresql/{self.major}/bin/pg_isready"
        return (program, "-q", "-h", self.socket_folder, "-p", self.port)

    def runs_replaced_program(self) -> bool:
        """Return whether the running server's program is no longer the installed one."""
        try:
            # written by the server's user: it may be anything
            opened = os.open(self.folder / "postmaster.pid", os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(opened) as file:
                process = int(file.readline(20))
            return str(Path(f"/proc/{process}/exe").readlink()).endswith(_REPLACED)
        except (OSError, ValueError):
            return False  # it is not running


def read_clusters(text: str, majors: Sequence[int]) -> Sequence[Cluster]:
    """Return the clusters of some major versions in the output of LIST_CLUSTERS.

    Raises ValueError if it cannot be read.
    """
    try:
        return [
            Cluster(
                int(one["version"]),
                one["cluster"],
                str(one["port"]),
                one["socketdir"],
                Path(one["pgdata"]),
                bool(one["running"]),
            )
            for one in json.loads(text)
            if str(one["version"]) in map(str, majors)  # Perl writes it as text or as a number
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"pg_lsclusters: {error!r}") from None
