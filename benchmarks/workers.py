"""Many databases by the workers of a fleet, beside the same work by plain threads.

The work and the threads are those of `benchmarks.fleet`. Three workers with one state in a server
of its own work on at most sixteen databases at once; all processes are on one machine. The time
is that from the start of the workers to the last recorded end, so it has their start in it.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.fleet import JOB, SETTINGS, WIDE, Process, configured, fleet, measured
from benchmarks.server import COMPILED, ratio_columns
from daemon.bootstrap import build_context, renewed
from daemon.config.load import load_config
from daemon.demo.cluster import Cluster, embedded_binaries
from daemon.discovery import look_for_databases
from daemon.history import history
from daemon.monitoring.log import set_up
from daemon.registry import JOB_NAMES
from daemon.scheduling.tasks import tasks_of
from domain.task import Trigger

WORKERS = 3
AT_ONCE = 6
"""By one worker; 18 together, of which the limit of sessions lets 16 begin."""
SESSIONS = 32
POLL_SECONDS = 0.2
FLEET = """
[fleet]
worker_at_once = {at_once}
[schedules.nightly]
cron = "{minute} {hour} * * *"
window = "4h"
catch_up = "always"
jobs = ["{job}"]
"""
ENDED = """
    SELECT count(*) FILTER (WHERE state = 'finished') AS finished, count(*) AS every,
           count(DISTINCT database) FILTER (WHERE state = 'finished') AS databases
    FROM sereno_state.run
"""


@contextmanager
def state(folder: Path) -> Iterator[Cluster]:
    """Start a server for the state; yield it."""
    (folder / "state").mkdir(exist_ok=True)
    with Cluster(folder / "state", embedded_binaries(), SETTINGS) as cluster:
        yield cluster


def due_now(cluster: Cluster, state_server: Cluster, folder: Path, number: int) -> Path:
    """Make a schedule due in every database with a state of its own; return the configuration."""
    name = f"state{number}"
    with psycopg.connect(state_server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    now = datetime.now(UTC)
    path = configured(cluster, folder, WIDE)
    socket = str(state_server.socket).replace("/", "%2F")
    url = f"postgresql://postgres@{socket}:{state_server.port}/{name}"
    lines = path.read_text().splitlines()
    text = "\n".join(
        f'state = "{url}"\nfolder = "{folder}"' if line.startswith("state =") else line
        for line in lines
    )
    text = text.replace(f"at_once = {WIDE}", f"at_once = {SESSIONS}")
    text += FLEET.format(at_once=AT_ONCE, minute=now.minute, hour=now.hour, job=JOB)
    path = folder / f"{name}.toml"
    path.write_text(text)
    context = build_context(load_config(path, JOB_NAMES))
    look_for_databases(context)
    context = renewed(context)
    with context.store.transaction() as transaction:
        tasks = tasks_of(context, [JOB], Trigger("nightly"))
        since = dict.fromkeys(tasks, datetime(2026, 1, 1, tzinfo=UTC))
        cron = str(context.config.timetable["nightly"].cron)
        history.remember_planned(transaction, cron, since)
    return path


def by_workers(cluster: Cluster, state_server: Cluster, folder: Path, number: int) -> Process:
    """Let workers do the due tasks; return their figures."""
    config = due_now(cluster, state_server, folder, number)
    count, found, before = 0, Process(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with psycopg.connect(cluster.dsn()) as connection:
        query = "SELECT count(*) FROM pg_database WHERE datname LIKE 'fleet_%'"
        row = connection.execute(query).fetchone()
        count = row[0] if row else 0
    began = time.monotonic()
    command = [sys.executable, "-m", "daemon", "run", "--worker", "--config", str(config), "--as"]
    workers = [
        subprocess.Popen([*command, f"w{one}"], stdout=subprocess.DEVNULL, env=COMPILED)
        for one in range(WORKERS)
    ]
    url = state_server.dsn(f"state{number}")
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(cluster.dsn(), autocommit=True) as sampled,
    ):
        ended = (0, 0, 0)
        while ended[0] < count:
            time.sleep(POLL_SECONDS)
            ended = connection.execute(ENDED).fetchone() or ended
            for worker in workers:
                found.sample(worker.pid, sampled)
    found.seconds = time.monotonic() - began
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.wait()
    if ended != (count, count, count):
        sys.exit(f"{ended} of {count}: lost or done twice")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def main() -> None:
    """Print a Markdown row of the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=1)
    arguments = parser.parse_args()
    count = arguments.databases
    set_up(quiet=True)
    with fleet(count) as (cluster, folder), state(folder) as state_server:
        wide = configured(cluster, folder, WIDE)
        threads = [sys.executable, "-m", "benchmarks.fleet", "--threads", str(wide)]
        measured(cluster, [sys.executable, "-m", "daemon", "now", JOB, "--config", str(wide)])
        pairs = [
            (by_workers(cluster, state_server, folder, number), measured(cluster, threads))
            for number in range(arguments.pairs)
        ]
        times = [(ours.seconds, peer.seconds) for ours, peer in pairs]
        ours, peer = pairs[-1]
        print(f"{count} databases on {os.cpu_count()} cores, {WORKERS} workers\n")
        print("| workers s | threads s | ratio | spread | CPU ms a task more | MB each |")
        print("|---|---|---|---|---|---|")
        more = (ours.cpu - peer.cpu) / count * 1000
        print(f"| {ratio_columns(times)} | {more:.1f} | {ours.megabytes} |")


if __name__ == "__main__":
    main()
