"""Proof of a fleet: three workers in three network namespaces, many databases, and what goes wrong.

While a schedule works in every database, workers are killed by SIGKILL, frozen by SIGSTOP for
longer than `stalled_after`, and cut off from the database of the state; the leader is among those
killed, and that database is restarted and crashes. Afterwards every task is done, none twice, no
server had more sessions than its limit, and each machine tells the same.

`python -m tests.prove.fleet [DATABASES] [KILLS] [STOPS]`
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from daemon.demo.cluster import Cluster, embedded_binaries
from store.timestamps import from_text

TARGETS, STATE = "10.213.99.1", "10.213.99.2"
WORKERS = 3
SERVERS = 2
LIMIT = 12
"""Sessions in each server."""
STALLED = 10
FROZEN = 13
CUT = 25
SAMPLE_SECONDS = 0.05
CONFIG = """
[daemon]
name = "proof"
state = "postgresql://postgres@{state}:{port}/state"
folder = "{folder}"
checks = "{checks}"
listen = ""
[fleet]
stalled_after = "{stalled}s"
[schedules.nightly]
cron = "{cron}"
window = "2h"
catch_up = "always"
jobs = ["integrity_check", "analyze"]
"""
GROUP = """
[databases.{name}]
dsn = "host={host} port={port} dbname=postgres"
discover = "fleet_%"
at_once = {limit}
maintain = {{ user = "proof_maintain" }}
data = {{ user = "proof_data" }}
"""
SLOW_CHECK = """-- title  = "Half a second"
-- remedy = "wait"
-- source = "test"
SELECT 'x' AS object, 1 AS value, 'info' AS severity, 'x' AS summary FROM pg_catalog.pg_sleep(0.5) AS slept WHERE slept::text = 'x'
"""
SESSIONS = """
    WITH locks AS MATERIALIZED (
      SELECT l.database, l.objid, l.mode, a.client_addr FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.classid = %s AND l.granted)
    SELECT count(*) FILTER (WHERE a.query LIKE '%%advisory_lock%%' OR a.datid IN (SELECT database FROM locks)) AS ours,
           count(*) AS every,
           (SELECT count(*) FROM locks l JOIN locks w USING (database)
            WHERE l.objid = 2 AND w.objid = 2 AND l.mode = 'ShareLock' AND w.mode = 'ShareLock'
              AND w.client_addr < l.client_addr) AS overlaps
    FROM pg_stat_activity a
    WHERE a.application_name LIKE 'sereno/%%' AND a.application_name !~ 'probe|discover'
"""
"""The sessions of runs; those and the looks of a leader that is cut off; and the pairs of sessions
of two workers that work in one database."""
EACH = """
    SELECT clock_timestamp()::time(1)::text AS at, client_addr::text AS worker, application_name AS application,
           datname AS database, usename AS login, (clock_timestamp() - backend_start)::text AS age, state,
           left(query, 60) AS query
    FROM pg_stat_activity WHERE application_name LIKE 'sereno/%' AND application_name !~ 'probe|discover'
    ORDER BY datname, backend_start
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Machine:
    """A worker in a network namespace of its own, started again when it dies."""

    def __init__(self, folder, number):
        self.name = f"w{number}"
        self.space = f"srnf{os.getpid() % 10000}{number}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self.process = None
        self.ended = False
        inside, outside = f"10.213.{60 + number}.2", f"10.213.{60 + number}.1"
        ip("netns", "add", self.space)
        ip("link", "add", self.space, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("addr", "add", f"{outside}/24", "dev", self.space)
        ip("link", "set", self.space, "up")
        ip("-n", self.space, "addr", "add", f"{inside}/24", "dev", "eth0")
        ip("-n", self.space, "link", "set", "eth0", "up")
        ip("-n", self.space, "link", "set", "lo", "up")
        ip("-n", self.space, "route", "add", "default", "via", outside)

    def command(self, *arguments):
        prefix = ("ip", "netns", "exec", self.space, sys.executable, "-m", "daemon")
        return [*prefix, *arguments, "--config", str(self.folder / "config.toml")]

    def start(self):
        with (self.folder / "log").open("ab") as log:
            command = self.command("run", "--worker", "--as", self.name)
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def keep_running(self):
        """Start it again two seconds after it has died, as systemd does."""
        while not self.ended:
            if self.process.poll() is not None:
                time.sleep(2)
                if not self.ended:
                    self.start()
            time.sleep(0.1)

    def signal(self, number):
        self.process.send_signal(number)

    def says(self, *arguments):
        """Return the output of a command on this machine."""
        ran = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)
        if ran.returncode not in {0, 1}:
            raise RuntimeError(ran.stderr)
        return ran.stdout

    def close(self):
        self.ended = True
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        subprocess.run(["ip", "netns", "delete", self.space], check=False)


class Monitor(threading.Thread):
    """Samples the sessions in one server."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.connection = psycopg.connect(cluster.dsn(), autocommit=True, row_factory=dict_row)
        self.samples = self.most = self.every = self.overlaps = 0
        self.worst = []
        self.stopped = threading.Event()

    def run(self):
        key = (int.from_bytes(b"sern"),)
        while not self.stopped.wait(SAMPLE_SECONDS):
            row = self.connection.execute(SESSIONS, key).fetchone()
            self.samples += 1
            if row["ours"] > max(self.most, LIMIT):
                self.worst = self.connection.execute(EACH).fetchall()
            self.most = max(self.most, row["ours"])
            self.every = max(self.every, row["every"])
            self.overlaps += row["overlaps"]


class Proof:
    """The servers, the machines, and the faults."""

    def __init__(self, folder, databases):
        self.folder, self.databases = folder, databases
        self.machines, self.clusters, self.faults = [], [], []
        self.state = self._cluster("state", STATE)
        self.state_url = f"host={STATE} port={self.state.port} dbname=state user=postgres"
        with psycopg.connect(self.state.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE state")

    def _cluster(self, name, address):
        place = self.folder / name
        place.mkdir()
        settings = {
            "listen_addresses": address,
            "max_connections": "200",
            "fsync": "off",
            "autovacuum": "off",
        }
        cluster = Cluster(place, embedded_binaries(), settings).create()
        with (cluster.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.213.0.0/16 trust\n")
        cluster.start()
        self.clusters.append(cluster)
        return cluster

    def prepare(self):
        checks = self.folder / "checks.d"
        checks.mkdir()
        (checks / "half_a_second.sql").write_text(SLOW_CHECK)
        groups = ""
        for number in range(SERVERS):
            cluster = self._cluster(f"server{number}", TARGETS)
            self._databases(cluster, checks, self.databases // SERVERS)
            values = {"name": f"s{number}", "host": TARGETS, "port": cluster.port, "limit": LIMIT}
            groups += GROUP.format(**values)
        at = datetime.now(UTC) + timedelta(seconds=90)
        for number in range(WORKERS):
            machine = Machine(self.folder, number)
            values = {
                "state": STATE,
                "port": self.state.port,
                "folder": machine.folder,
                "checks": checks,
            }
            cron = f"{at.minute} {at.hour} * * *"
            text = CONFIG.format(**values, stalled=STALLED, cron=cron) + groups
            (machine.folder / "config.toml").write_text(text)
            self.machines.append(machine)
        return at.replace(second=0, microsecond=0)

    def _databases(self, cluster, checks, count):
        """Make databases from a template that `sereno install` has prepared."""
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE model")
            connection.execute("CREATE ROLE proof_maintain LOGIN; CREATE ROLE proof_data LOGIN")
        path = cluster.folder / "install.toml"
        text = CONFIG.format(
            state="x",
            port=1,
            folder=cluster.folder,
            checks=checks,
            stalled=STALLED,
            cron="0 0 * * *",
        ).replace("postgresql://postgres@x:1/state", str(cluster.folder / "state.db"))
        text += (
            f'[databases.model]\ndsn = "host={cluster.socket} port={cluster.port} dbname=model"\n'
            'maintain = { user = "proof_maintain" }\ndata = { user = "proof_data" }\n'
        )
        path.write_text(text)
        command = [
            sys.executable,
            "-m",
            "daemon",
            "install",
            "model",
            "--admin",
            cluster.dsn("model"),
            "--config",
            path,
        ]
        subprocess.run(command, check=True, capture_output=True)
        with psycopg.connect(cluster.dsn("model"), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE item (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = off);"
                "INSERT INTO item SELECT n, n::text FROM generate_series(1, 500) n"
            )
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            for number in range(count):
                name = sql.Identifier(f"fleet_{number:04}")
                statement = sql.SQL("CREATE DATABASE {} TEMPLATE model STRATEGY file_copy")
                connection.execute(statement.format(name))

    def rows(self, query, values=()):
        while True:
            try:
                with psycopg.connect(self.state.dsn("state"), row_factory=dict_row) as connection:
                    return connection.execute(query, values).fetchall()
            except psycopg.OperationalError:  # it is being restarted
                time.sleep(0.2)

    def finished(self):
        query = "SELECT count(DISTINCT (job, database)) AS n FROM sereno_state.run WHERE state = 'finished'"
        return self.rows(query)[0]["n"]

    def leader(self):
        query = """
            SELECT w.name FROM sereno_state.worker w
            JOIN sereno_state.instance i ON i.name = 'service' AND i.value = w.process
        """
        found = self.rows(query)
        by_name = {machine.name: machine for machine in self.machines}
        return by_name.get(found[0]["name"]) if found else None

    def note(self, kind, machine):
        """Note a fault, and the runs that the worker had then."""
        query = """
            SELECT r.id, r.job, r.database FROM sereno_state.run r JOIN sereno_state.worker w ON w.process = r.worker
            WHERE r.state = 'running' AND w.name = %s
        """
        self.faults.append((kind, datetime.now(UTC), self.rows(query, (machine.name,))))

    def break_things(self, kills, stops):
        """Kill, freeze and cut off; the database of the state is restarted, and crashes."""
        plan = (
            ["kill"] * (kills - kills // 5) + ["kill the leader"] * (kills // 5) + ["stop"] * stops
        )
        plan += ["restart", "crash", "cut", "cut"]
        random.shuffle(plan)
        for number, what in enumerate(plan):
            getattr(self, f"_{what.replace(' ', '_')}")()
            left = self.databases * 2 - self.finished()
            print(f"  {number + 1}/{len(plan)} {what}; {left} tasks left", file=sys.stderr)
            time.sleep(random.uniform(1, 4))
        return left

    def _kill(self, machine=None):
        machine = machine or random.choice(self.machines)
        self.note("kill", machine)
        machine.signal(signal.SIGKILL)

    def _kill_the_leader(self):
        self._kill(self.leader())

    def _stop(self):
        machine = random.choice(self.machines)
        self.note("stop", machine)
        machine.signal(signal.SIGSTOP)
        time.sleep(FROZEN)
        machine.signal(signal.SIGCONT)

    def _restart(self):
        self.state.stop("fast")
        time.sleep(3)
        self.state.start()

    def _crash(self):
        self.state.stop("immediate")
        time.sleep(3)
        self.state.start()

    def _cut(self):
        machine = random.choice(self.machines)
        ip("-n", machine.space, "route", "add", "blackhole", f"{STATE}/32")
        time.sleep(CUT)
        ip("-n", machine.space, "route", "del", "blackhole", f"{STATE}/32")

    def taken_up(self):
        """Return after how many seconds the runs of each fault were gone on with."""
        runs = self.rows(
            "SELECT id, job, database, started_at, state FROM sereno_state.run ORDER BY id"
        )
        later, seconds = defaultdict(list), defaultdict(list)
        for run in runs:
            later[run["job"], run["database"]].append(run)
        done = {(run["job"], run["database"]) for run in runs if run["state"] == "finished"}
        for kind, at, cut in self.faults:
            for run in cut:
                again = [one for one in later[run["job"], run["database"]] if one["id"] > run["id"]]
                if again:
                    seconds[kind].append((from_text(again[0]["started_at"]) - at).total_seconds())
                elif (run["job"], run["database"]) not in done:
                    seconds[kind].append(float("inf"))
        return seconds

    def check(self, due, monitors):
        """Print the counts; return whether all are right."""
        runs = self.rows("SELECT job, database, state, reason FROM sereno_state.run")
        done = Counter(
            (run["job"], run["database"])
            for run in runs
            if run["state"] == "finished" and not run["reason"].startswith("by ")
        )
        known = {(run["job"], run["database"]) for run in runs if run["state"] == "finished"}
        claimed = Counter()
        for cluster in self.clusters[1:]:
            for number in range(self.databases // SERVERS):
                with psycopg.connect(cluster.dsn(f"fleet_{number:04}")) as connection:
                    query = "SELECT state FROM sereno.claim WHERE schedule = 'nightly'"
                    claimed.update(row[0] for row in connection.execute(query))
        lost = self.databases * 2 - len(known)
        twice = sum(count - 1 for count in done.values())
        print(
            f"  {self.databases * 2} tasks: lost {lost}, twice {twice}, claims {dict(claimed)}; {len(runs)} runs recorded"
        )
        right = not lost and not twice and set(claimed) == {"finished"}
        for number, monitor in enumerate(monitors):
            monitor.stopped.set()
            print(
                f"  server {number}: at most {monitor.most} sessions of runs (limit {LIMIT}), {monitor.every} in all, {monitor.overlaps} overlaps in {monitor.samples} samples"
            )
            for row in monitor.worst:
                print(f"    {' | '.join(str(value) for value in row.values())}")
            right &= monitor.most <= LIMIT and not monitor.overlaps
        for kind, seconds in self.taken_up().items():
            median = statistics.median(seconds) if seconds else 0.0
            print(
                f"  {kind}: {len(seconds)} runs taken up after {median:.1f} s (median), {max(seconds, default=0):.1f} s (most)"
            )
            right &= median <= STALLED + 15
        return right

    def told(self):
        """Return whether every machine tells the same."""
        alike = True
        for command in (
            ("status", "--json"),
            ("fleet", "databases", "--json"),
            ("alerts", "list", "--json"),
            ("report", "--json"),
        ):
            said = {
                json.dumps(_steady(json.loads(machine.says(*command)))) for machine in self.machines
            }
            if len(said) > 1 and os.environ.get("KEEP"):
                for number, text in enumerate(said):
                    Path(os.environ["KEEP"], f"{command[0]}{number}.json").write_text(text)
            print(
                f"  sereno {' '.join(command)}: {'the same from' if len(said) == 1 else 'DIFFERENT on'} {len(self.machines)} machines"
            )
            alike &= len(said) == 1
        return alike

    def close(self):
        for machine in self.machines:
            machine.close()
        for cluster in self.clusters:
            cluster.stop("immediate")


def _steady(values):
    """Return values without those that change by the second."""
    if isinstance(values, dict):
        changing = {"seen_at", "last_seen_at", "occurrences", "since", "until"}
        return {key: _steady(value) for key, value in values.items() if key not in changing}
    if isinstance(values, list):
        return [_steady(value) for value in values]
    return values


def main(databases=1000, kills=30, stops=10):
    for address in (TARGETS, STATE):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=False)
    with tempfile.TemporaryDirectory(prefix="sereno-fleet-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        proof = Proof(folder, databases)
        try:
            return prove(proof, kills, stops)
        finally:
            for address in (TARGETS, STATE):
                subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=False)
            if os.environ.get("KEEP"):
                subprocess.run(
                    ["cp", "-r", *[str(one.folder) for one in proof.machines], os.environ["KEEP"]],
                    check=False,
                )
            proof.close()


def prove(proof, kills, stops):
    due = proof.prepare()
    for machine in proof.machines:
        machine.start()
        threading.Thread(target=machine.keep_running, daemon=True).start()
    monitors = [Monitor(cluster) for cluster in proof.clusters[1:]]
    for monitor in monitors:
        monitor.start()
    while datetime.now(UTC) < due or not proof.finished():
        time.sleep(1)
    began = time.monotonic()
    left = proof.break_things(kills, stops)
    print(
        f"fleet of {WORKERS} workers, {proof.databases} databases: {kills} SIGKILL, {stops} SIGSTOP, 2 restarts, 2 cuts; {left} tasks were left after the last"
    )
    while proof.finished() < proof.databases * 2 and time.monotonic() - began < 3600:
        time.sleep(1)
    print(f"  done after {time.monotonic() - began:.0f} s")
    time.sleep(2 * STALLED)
    right = proof.check(due, monitors)
    return proof.told() and right


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
