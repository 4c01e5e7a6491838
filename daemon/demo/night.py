"""Runs the demo: a server, the sample cooperative, both lists by the real command line."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
from rich.console import Console

from daemon.demo.cluster import Cluster, ClusterError, embedded_binaries
from daemon.demo.configuration import configure
from daemon.demo.faults import FAULTS, plant
from daemon.demo.summary import DemoRun, Stages, describe_runs, show_summary
from daemon.exit_codes import Exit

SINKS = ("smtp", "slack", "ticket")
START_SECONDS = 20.0

_ANALYZE = """
DO $$
DECLARE
  leaf regclass;
BEGIN
  FOR leaf IN SELECT oid FROM pg_catalog.pg_class
              WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
  LOOP
    EXECUTE format('ANALYZE %s', leaf);
  END LOOP;
END
$$
"""


class DemoError(Exception):
    """The demo failed; the message says why."""


def run_demo(without: Collection[str], folder: Path | None) -> None:
    """Run the demo. Nothing is left running, and nothing but `folder` is left."""
    began = time.monotonic()
    stages = Stages(Console(stderr=True))
    kept = _fresh(folder)
    with ExitStack() as stack:
        stack.enter_context(_termination_interrupts())
        stack.enter_context(_removed_on_error(kept))
        temporary = tempfile.TemporaryDirectory(prefix="sereno-demo-", ignore_cleanup_errors=True)
        scratch = Path(stack.enter_context(temporary))
        scratch.chmod(0o755)
        with stages.stage("an embedded PostgreSQL and the sample cooperative") as stage:
            cluster, version = _cooperative(stack, scratch / "cluster", without)
            ports = {kind: stack.enter_context(_sink(kind, kept)) for kind in SINKS}
            config = configure(kept, scratch, cluster, ports)
            admin = cluster.dsn("coop")
            _sereno("install", "main", "--admin", admin, "--config", str(config))
            faults = len(FAULTS) - len(without)
            stage.text = f"PostgreSQL {version}, sample database with {faults} faults"
        for schedule, name in (("daily", "night"), ("weekly", "week")):
            with stages.stage(f"the {name}: sereno now {schedule}") as stage:
                runs = _now(schedule, config)
                stage.text = f"the {name}: {describe_runs(runs)}"
        history = _history(config)
    show_summary(DemoRun(kept, history, without, version, time.monotonic() - began))


def _now(schedule: str, config: Path) -> list[dict[str, Any]]:
    done = _sereno("now", schedule, "--json", "--config", str(config), accept={Exit.FOUND})
    runs: list[dict[str, Any]] = json.loads(done)
    return runs


def _fresh(folder: Path | None) -> Path:
    try:
        if folder is None:
            return Path(tempfile.mkdtemp(prefix="sereno-night-"))
        if folder.exists() and any(folder.iterdir()):
            raise DemoError(f"{folder} is not empty; give a folder that is, or none")
        folder.mkdir(parents=True, exist_ok=True)
        return folder.resolve()
    except OSError as error:
        raise DemoError(f"{folder}: {error.strerror or error}") from None


@contextmanager
def _removed_on_error(kept: Path) -> Iterator[None]:
    """Remove the folder unless the demo ended well."""
    try:
        yield
    except BaseException:
        shutil.rmtree(kept, ignore_errors=True)
        raise


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Make SIGTERM clean up as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _cooperative(stack: ExitStack, folder: Path, without: Collection[str]) -> tuple[Cluster, str]:
    folder.mkdir(mode=0o755)
    try:
        cluster = Cluster(folder, embedded_binaries())
        stack.callback(cluster.stop, "immediate")
        cluster.create().start()
    except ClusterError as error:
        raise DemoError(str(error)) from None
    script = (resources.files("daemon.demo") / "cooperative.sql").read_bytes()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE coop_app LOGIN")
        connection.execute("CREATE DATABASE coop OWNER coop_app")
    with psycopg.connect(cluster.dsn("coop", "coop_app"), autocommit=True) as connection:
        connection.execute(script)
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute(_ANALYZE)  # after the commit of the rows, else ANALYZE would count none
        plant(connection, without)
        return cluster, connection.info.parameter_status("server_version") or ""


@contextmanager
def _sink(kind: str, kept: Path) -> Iterator[int]:
    """Run a sink in a process of its own; it ends when its standard input closes."""
    folder = kept / ("email" if kind == "smtp" else kind)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "daemon.demo.sinks", kind, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        line = ""
        if process.stdout:
            line = process.stdout.readline()
        if not line:
            raise DemoError(f"the {kind} sink did not start")
        yield int(line)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _sereno(*arguments: str, accept: Collection[int] = ()) -> str:
    """Run the real command line; return its output. Raises DemoError for other exit codes."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "daemon", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode and done.returncode not in accept:
        output = f"{done.stdout}{done.stderr}".strip()
        command = " ".join(arguments[:2])
        raise DemoError(f"sereno {command} exited with {done.returncode}: {output}")
    return done.stdout


def _history(config: Path) -> list[dict[str, Any]]:
    """Return the history by the command line."""

    def ask(*arguments: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(_sereno("history", *arguments, "--json", "--config", str(config)))

    return [ask(str(run["id"])) for run in reversed(ask())]
