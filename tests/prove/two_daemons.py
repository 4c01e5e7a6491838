"""Two serenos, one configuration, one database: every due run once, whatever dies.

`kills`: a random one of the two is killed by SIGKILL every few seconds, and started again, for 50 due runs.
`cuts`: each lives in a network of its own, and the link of a random one goes down (no reset is sent) 20 times.
Seen from the server, all the while: how many workers are there at once (the holders of the worker's lock in
pg_locks, that are in pg_stat_activity), and when the backends of a cut client go.
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

LISTS = ("a", "b", "c", "d", "e")
JOBS = ("integrity_check", "analyze")
MINUTES = 5
CUTS = 20
CUT, LONG_CUT = 16, 75
"""Seconds: longer than keepalives take, and longer than anything that may be left in flight."""
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
-- source = "patience"
SELECT 'x' AS object, 1 AS value, 'info' AS severity, 'x' AS summary FROM pg_catalog.pg_sleep(3) AS slept WHERE slept::text = 'x'
"""
WORKERS = """
    SELECT a.pid, host(a.client_addr) AS client, a.application_name AS name
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = 2 AND l.mode = 'ShareLock' AND l.granted
"""


class Twin:
    """One of them; what it says is kept."""

    def __init__(self, folder, name, checks, dsn, prefix=()):
        self.folder = folder / name
        self.folder.mkdir()
        text = CONFIG.format(folder=self.folder, checks=checks, dsn=dsn)
        for letter in LISTS:
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
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "history", "--limit", "100000", "--json", "--config", self.folder / "config.toml"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    def lost_since(self, moment):
        """Return when the log first says, after a moment, that a connection is lost."""
        for line in (self.folder / "log").read_text().splitlines():
            if line.startswith("{"):
                said = json.loads(line)
                at = datetime.fromisoformat(said["timestamp"])
                if said["event"] == "run.retrying" and at > moment:
                    return at
        return None


class Watch(threading.Thread):
    """Looks at the server twenty times a second."""

    def __init__(self, dsn):
        super().__init__(daemon=True)
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.looks, self.most, self.overlaps = 0, 0, 0
        self.clients = {}
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.05):
            workers = self.connection.execute(WORKERS, (int.from_bytes(b"sern"),)).fetchall()
            self.looks += 1
            self.most = max(self.most, len(workers))
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


def claims_table(cluster, twin):
    """Make the sereno schema, by the real command, for logins that nobody uses here."""
    path = twin.folder / "install.toml"
    logins = 'maintain = { user = "twin_maintain" }\ndata = { user = "twin_data" }\n'
    path.write_text(
        (twin.folder / "config.toml")
        .read_text()
        .replace("[schedules.a]", logins + "[schedules.a]", 1)
    )
    subprocess.run(
        [sys.executable, "-m", "daemon", "install", "main", "--admin", cluster.dsn("coop"), "--config", path],
        check=True, capture_output=True,
    )  # fmt: skip


def dirty(dsn, stop):
    """Keep ANALYZE due."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.wait(2):
            connection.execute("UPDATE t SET b = b + 1")


def settled(cluster, first, last):
    """Wait until every claim of these minutes is settled, and return them."""
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


def coalesced(runs, schedule, minute):
    """Say whether a list was still in progress when it was due again: it then runs once for both."""
    before = [run for run in runs if run["schedule"] == schedule and run["nominal"] < minute]
    return any((run["finished_at"] or "9")[:16] >= minute for run in before)


def verdict(cluster, twins, first, minutes, watch):
    """Count claims, and the runs of both histories, of the due minutes from `first` on."""
    claims = settled(cluster, first, first + timedelta(minutes=minutes))
    alive = watch.is_alive()
    watch.stopped.set()
    for twin in twins:
        twin.stop()
    runs = [run for twin in twins for run in twin.runs()]
    done = {
        (claim["schedule"], claim["job"], f"{claim['nominal']:%Y-%m-%dT%H:%M}")
        for claim in claims
        if claim["state"] == "finished"
    }
    nominals = [f"{first + timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in range(minutes)]
    due = {(name, job, nominal) for name in LISTS for job in JOBS for nominal in nominals}
    together = {one for one in due - done if coalesced(runs, one[0], one[2])}
    own = Counter(
        (run["schedule"], run["job"], run["nominal"])
        for run in runs
        if run["state"] == "finished" and not run["reason"].startswith("by ")
    )
    doubles = sum(count - 1 for one, count in own.items() if one in due)
    lost = len(due - done - together)
    print(
        f"  due runs {len(due)}, done {len(done)}, together with the next {len(together)}, double {doubles}, lost {lost}"
    )
    taken = sum(claim["attempts"] for claim in claims)
    print(
        f"  taken {taken} times; looks {watch.looks}, most workers at once {watch.most}, looks with two {watch.overlaps}"
    )
    return (
        bool(done)
        and alive
        and not (lost or doubles or watch.overlaps)
        and len(done) == len(claims)
    )


def start(folder, settings, dsn_of, prefixes=((), ())):
    cluster, checks = prepare(folder, settings)
    twins = [
        Twin(folder, name, checks, dsn_of(cluster, name), prefix)
        for name, prefix in zip(("one", "two"), prefixes, strict=True)
    ]
    claims_table(cluster, twins[0])
    stop = threading.Event()
    threading.Thread(target=dirty, args=(cluster.dsn("coop"), stop), daemon=True).start()
    watch = Watch(cluster.dsn("coop"))
    watch.start()
    first = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return cluster, twins, watch, stop, first


def kills(folder):
    cluster, twins, watch, stop, first = start(
        folder, {}, lambda cluster, _: cluster.dsn("coop").replace("user=postgres", "")
    )
    killed = 0
    while datetime.now(UTC) < first + timedelta(minutes=MINUTES):
        time.sleep(random.uniform(2, 6))
        twin = random.choice(twins)
        twin.kill()
        killed += 1
        twin.start()
    print(f"two daemons, kill -9 of a random one: {killed} kills")
    fine = verdict(cluster, twins, first, MINUTES, watch)
    stop.set()
    cluster.stop("immediate")
    return fine


def network(name, number):
    """Make a network of its own, tied to ours by a pair of links; return both addresses."""
    inside, outside = f"10.213.{number}.2", f"10.213.{number}.1"
    for words in (
        f"netns add {name}", f"link add {name} type veth peer name eth0 netns {name}",
        f"addr add {outside}/24 dev {name}", f"link set {name} up",
        f"-n {name} addr add {inside}/24 dev eth0", f"-n {name} link set eth0 up", f"-n {name} link set lo up",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)
    return inside, outside


def cuts(folder):
    names = [f"srn{os.getpid() % 10000}{letter}" for letter in "ab"]
    places = dict(
        zip(("one", "two"), (network(name, 40 + n) for n, name in enumerate(names)), strict=True)
    )
    try:
        return cut_links(folder, names, places)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def busy(watch, places):
    """Wait until one of the two has a worker, and return which; now and then the other one."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        for number, name in enumerate(("one", "two")):
            seen = watch.clients.get(places[name][0])
            if seen is not None and datetime.now(UTC) - seen[0] < timedelta(seconds=0.1):
                return number if random.random() < 0.8 else 1 - number
        time.sleep(0.05)
    return random.randrange(2)


def cut_links(folder, names, places):
    def dsn(cluster, name):
        with (cluster.data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {places[name][0]}/32 trust\n")
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        return f"host={places[name][1]} port={cluster.port} dbname=coop"

    prefixes = [("ip", "netns", "exec", name) for name in names]
    cluster, twins, watch, stop, first = start(folder, {"listen_addresses": "*"}, dsn, prefixes)
    at_work, margins = 0, []
    time.sleep(max(0.0, (first - datetime.now(UTC)).total_seconds() + 3))
    for number in range(CUTS):
        which = busy(watch, places)
        client = places[("one", "two")[which]][0]
        worked = (
            datetime.now(UTC) - watch.clients.get(client, (first - timedelta(days=1), 0))[0]
        ).total_seconds() < 0.2
        moment = datetime.now(UTC)
        subprocess.run(["ip", "link", "set", names[which], "down"], check=True)
        time.sleep(LONG_CUT if number % 7 == 6 else CUT)
        if worked:
            lost, gone = twins[which].lost_since(moment), watch.clients[client][0]
            if gone > moment + timedelta(seconds=5):
                at_work += 1
                margins.append((gone - lost).total_seconds() if lost is not None else -1.0)
        subprocess.run(["ip", "link", "set", names[which], "up"], check=True)
        time.sleep(random.uniform(3, 8))
        print(
            f"  cut {number + 1}: {'a worker was there' if worked else 'nobody at work'}",
            file=sys.stderr,
        )
    minutes = int((datetime.now(UTC) - first).total_seconds() // 60)
    print(
        f"two daemons, links cut without a word: {CUTS} cuts, {at_work} of them under a worker in a statement"
    )
    if margins:
        print(
            f"  the client knew before the server let go: by {min(margins):.1f} to {max(margins):.1f} s"
        )
    fine = verdict(cluster, twins, first, minutes, watch)
    stop.set()
    cluster.stop("immediate")
    return fine and len(margins) >= CUTS // 4 and all(margin > 0 for margin in margins)


def main():
    wanted = sys.argv[1:] or ["kills", "cuts"]
    fine = True
    for name in wanted:
        if name == "cuts" and (os.geteuid() != 0 or shutil.which("ip") is None):
            print("two daemons, links cut: skipped, it needs root and iproute2")
            continue
        folder = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
        folder.chmod(0o755)
        began = time.monotonic()
        fine = {"kills": kills, "cuts": cuts}[name](folder) and fine
        print(f"  {time.monotonic() - began:.0f} s")
        if fine:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
