"""Proof of two daemons on one database: every due run is done once.

`kills`: one of the two, chosen at random, is killed by SIGKILL every few seconds and restarted, for
50 due runs. `cuts`: each daemon runs in its own network namespace; the link of one, chosen at
random, goes down 20 times without a reset. A monitor samples the number of concurrent workers
(holders of the worker lock in pg_locks that are in pg_stat_activity), and when the backends of a
disconnected client end.

`python tests/prove/two_daemons.py [kills] [cuts]` runs only the named proofs.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from daemon.demo.cluster import Cluster, embedded_binaries

SCHEDULES = ("a", "b", "c", "d", "e")
JOBS = ("integrity_check", "analyze")
MINUTES = 5
CUTS = 20
CUT, LONG_CUT = 16, 75
"""Seconds: longer than the keepalive timeout, and longer than any statement left running."""
CONFIG = """
[daemon]
name = "twins"
state = "{folder}/state.db"
checks = "{checks}"
listen = ""
[databases.main]
dsn = "{dsn} user=postgres"
"""
SLOW_CHECK = """-- title  = "Three seconds"
-- remedy = "wait"
-- source = "test"
SELECT 'x' AS object, 1 AS value, 'info' AS severity, 'x' AS summary FROM pg_catalog.pg_sleep(3) AS slept WHERE slept::text = 'x'
"""
WORKERS = """
    SELECT a.pid, host(a.client_addr) AS client, a.application_name AS name
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = 2 AND l.mode = 'ShareLock' AND l.granted
"""


class Daemon:
    """One sereno process with its configuration and its log."""

    def __init__(self, folder, name, checks, dsn, prefix=()):
        self.folder = folder / name
        self.folder.mkdir()
        text = CONFIG.format(folder=self.folder, checks=checks, dsn=dsn)
        for letter in SCHEDULES:
            text += f'[schedules.{letter}]\ncron = "* * * * *"\nwindow = "15m"\njobs = {json.dumps(JOBS)}\n'
        (self.folder / "config.toml").write_text(text)
        self.prefix = prefix
        self.start()

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "daemon", "run", "--config", self.folder / "config.toml"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)

    def runs(self):
        finished = subprocess.run(
            [sys.executable, "-m", "daemon", "history", "--limit", "100000", "--json", "--config", self.folder / "config.toml"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(finished.stdout)

    def connection_lost_since(self, moment):
        """Return the time of the first lost connection in the log after a moment."""
        for line in (self.folder / "log").read_text().splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["timestamp"])
                if entry["event"] == "run.retrying" and at > moment:
                    return at
        return None


class ServerMonitor(threading.Thread):
    """Samples the workers on the server twenty times a second."""

    def __init__(self, dsn):
        super().__init__(daemon=True)
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.samples, self.most_workers, self.overlaps = 0, 0, 0
        self.clients = {}
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.05):
            workers = self.connection.execute(WORKERS, (int.from_bytes(b"sern"),)).fetchall()
            self.samples += 1
            self.most_workers = max(self.most_workers, len(workers))
            self.overlaps += len(workers) > 1
            for worker in workers:
                self.clients[worker["client"]] = (datetime.now(UTC), worker["pid"])


def prepare(folder, settings):
    cluster = Cluster(folder / "cluster", embedded_binaries(), settings)
    (folder / "cluster").mkdir()
    cluster.create().start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE coop")
    with psycopg.connect(cluster.dsn("coop"), autocommit=True) as connection:
        for statement in (
            "CREATE ROLE twin_maintain; CREATE ROLE twin_data",
            "CREATE TABLE t (a int, b int) WITH (autovacuum_enabled = off); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g",
            "CREATE FUNCTION slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN a; END $$",
            "CREATE INDEX ON t (slow(a))",
        ):
            connection.execute(statement)
    checks = folder / "checks.d"
    checks.mkdir()
    (checks / "three_seconds.sql").write_text(SLOW_CHECK)
    return cluster, checks


def install_schema(cluster, daemon):
    """Create the sereno schema with `sereno install`, for logins that the daemons do not use."""
    path = daemon.folder / "install.toml"
    logins = 'maintain = { user = "twin_maintain" }\ndata = { user = "twin_data" }\n'
    path.write_text(
        (daemon.folder / "config.toml")
        .read_text()
        .replace("[schedules.a]", logins + "[schedules.a]", 1)
    )
    subprocess.run(
        [sys.executable, "-m", "daemon", "install", "main", "--admin", cluster.dsn("coop"), "--config", path],
        check=True, capture_output=True,
    )  # fmt: skip


def keep_analyze_due(dsn, stop):
    """Update rows every two seconds, so that ANALYZE stays due."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.wait(2):
            connection.execute("UPDATE t SET b = b + 1")


def wait_for_claims(cluster, first, last):
    """Wait until every claim of a period is finished; return the claims."""
    query = "SELECT * FROM sereno.claim WHERE nominal >= %s AND nominal < %s"
    until, quiet = time.monotonic() + 600, 0
    with psycopg.connect(cluster.dsn("coop"), autocommit=True, row_factory=dict_row) as connection:
        while quiet < 20 and time.monotonic() < until:
            time.sleep(1)
            claims = connection.execute(
                query, (first.replace(tzinfo=None), last.replace(tzinfo=None))
            ).fetchall()
            quiet = quiet + 1 if all(claim["state"] == "finished" for claim in claims) else 0
    return claims


def is_coalesced(runs, schedule, minute):
    """Return whether the schedule was still running at a due minute, so that runs coalesced."""
    before = [run for run in runs if run["schedule"] == schedule and run["nominal"] < minute]
    return any((run["finished_at"] or "9")[:16] >= minute for run in before)


def check_runs(cluster, daemons, first, minutes, monitor):
    """Print the counts of due, finished and lost runs; return whether all are correct."""
    claims = wait_for_claims(cluster, first, first + timedelta(minutes=minutes))
    alive = monitor.is_alive()
    monitor.stopped.set()
    for daemon in daemons:
        daemon.stop()
    runs = [run for daemon in daemons for run in daemon.runs()]
    finished = {
        (claim["schedule"], claim["job"], f"{claim['nominal']:%Y-%m-%dT%H:%M}")
        for claim in claims
        if claim["state"] == "finished"
    }
    nominals = [f"{first + timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in range(minutes)]
    due = {(name, job, nominal) for name in SCHEDULES for job in JOBS for nominal in nominals}
    coalesced_runs = {one for one in due - finished if is_coalesced(runs, one[0], one[2])}
    runs_by_due = Counter(
        (run["schedule"], run["job"], run["nominal"])
        for run in runs
        if run["state"] == "finished" and not run["reason"].startswith("by ")
    )
    duplicates = sum(count - 1 for one, count in runs_by_due.items() if one in due)
    lost = len(due - finished - coalesced_runs)
    print(
        f"  due runs {len(due)}, finished {len(finished)}, coalesced {len(coalesced_runs)}, duplicate {duplicates}, lost {lost}"
    )
    attempts = sum(claim["attempts"] for claim in claims)
    print(
        f"  attempts {attempts}; samples {monitor.samples}, most concurrent workers {monitor.most_workers}, samples with two {monitor.overlaps}"
    )
    return (
        bool(finished)
        and alive
        and not (lost or duplicates or monitor.overlaps)
        and len(finished) == len(claims)
    )


def start(folder, settings, dsn_of, prefixes=((), ())):
    cluster, checks = prepare(folder, settings)
    daemons = [
        Daemon(folder, name, checks, dsn_of(cluster, name), prefix)
        for name, prefix in zip(("one", "two"), prefixes, strict=True)
    ]
    install_schema(cluster, daemons[0])
    stop = threading.Event()
    threading.Thread(target=keep_analyze_due, args=(cluster.dsn("coop"), stop), daemon=True).start()
    monitor = ServerMonitor(cluster.dsn("coop"))
    monitor.start()
    first = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return cluster, daemons, monitor, stop, first


def kills(folder):
    cluster, daemons, monitor, stop, first = start(
        folder, {}, lambda cluster, _: cluster.dsn("coop").replace("user=postgres", "")
    )
    killed = 0
    while datetime.now(UTC) < first + timedelta(minutes=MINUTES):
        time.sleep(random.uniform(2, 6))
        daemon = random.choice(daemons)
        daemon.kill()
        killed += 1
        daemon.start()
    print(f"two daemons, SIGKILL: {killed} kills")
    passed = check_runs(cluster, daemons, first, MINUTES, monitor)
    stop.set()
    cluster.stop("immediate")
    return passed


def network(name, number):
    """Create a network namespace connected by a veth pair; return both addresses."""
    inside, outside = f"10.213.{number}.2", f"10.213.{number}.1"
    for command in (
        f"netns add {name}", f"link add {name} type veth peer name eth0 netns {name}",
        f"addr add {outside}/24 dev {name}", f"link set {name} up",
        f"-n {name} addr add {inside}/24 dev eth0", f"-n {name} link set eth0 up", f"-n {name} link set lo up",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    return inside, outside


def cuts(folder):
    names = [f"srn{os.getpid() % 10000}{letter}" for letter in "ab"]
    addresses = dict(
        zip(("one", "two"), (network(name, 40 + n) for n, name in enumerate(names)), strict=True)
    )
    try:
        return cut_links(folder, names, addresses)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def choose_daemon(monitor, addresses):
    """Wait until a daemon has a worker; return its index, or in one of five cases the other."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        for number, name in enumerate(("one", "two")):
            seen = monitor.clients.get(addresses[name][0])
            if seen is not None and datetime.now(UTC) - seen[0] < timedelta(seconds=0.1):
                return number if random.random() < 0.8 else 1 - number
        time.sleep(0.05)
    return random.randrange(2)


def cut_links(folder, names, addresses):
    def dsn(cluster, name):
        with (cluster.data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {addresses[name][0]}/32 trust\n")
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        return f"host={addresses[name][1]} port={cluster.port} dbname=coop"

    prefixes = [("ip", "netns", "exec", name) for name in names]
    cluster, daemons, monitor, stop, first = start(folder, {"listen_addresses": "*"}, dsn, prefixes)
    cut_in_statement, margins = 0, []
    time.sleep(max(0.0, (first - datetime.now(UTC)).total_seconds() + 3))
    for number in range(CUTS):
        which = choose_daemon(monitor, addresses)
        client = addresses[("one", "two")[which]][0]
        had_worker = (
            datetime.now(UTC) - monitor.clients.get(client, (first - timedelta(days=1), 0))[0]
        ).total_seconds() < 0.2
        cut_at = datetime.now(UTC)
        subprocess.run(["ip", "link", "set", names[which], "down"], check=True)
        time.sleep(LONG_CUT if number % 7 == 6 else CUT)
        if had_worker:
            lost, last_seen = (
                daemons[which].connection_lost_since(cut_at),
                monitor.clients[client][0],
            )
            if last_seen > cut_at + timedelta(seconds=5):
                cut_in_statement += 1
                margins.append((last_seen - lost).total_seconds() if lost is not None else -1.0)
        subprocess.run(["ip", "link", "set", names[which], "up"], check=True)
        time.sleep(random.uniform(3, 8))
        print(
            f"  cut {number + 1}: {'with a worker' if had_worker else 'without a worker'}",
            file=sys.stderr,
        )
    minutes = int((datetime.now(UTC) - first).total_seconds() // 60)
    print(f"two daemons, network cuts: {CUTS} cuts, {cut_in_statement} during a statement")
    if margins:
        print(
            f"  client noticed {min(margins):.1f} to {max(margins):.1f} s before the server ended the backend"
        )
    passed = check_runs(cluster, daemons, first, minutes, monitor)
    stop.set()
    cluster.stop("immediate")
    return passed and len(margins) >= CUTS // 4 and all(margin > 0 for margin in margins)


def main():
    selected = sys.argv[1:] or ["kills", "cuts"]
    passed = True
    for name in selected:
        if name == "cuts" and (os.geteuid() != 0 or shutil.which("ip") is None):
            print("two daemons, network cuts: skipped, needs root and iproute2")
            continue
        folder = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
        folder.chmod(0o755)
        began = time.monotonic()
        passed = {"kills": kills, "cuts": cuts}[name](folder) and passed
        print(f"  {time.monotonic() - began:.0f} s")
        if passed:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
