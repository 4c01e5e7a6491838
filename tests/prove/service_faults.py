"""Proof of one service with every channel under faults of all kinds at once.

At random, and overlapping: the service is killed or stopped and started again, the database server
crashes or ends the sessions, the disk of the state file is full or the file is gone for a while, and
every channel's server refuses, hangs, answers without end, drips, cuts or reports an error. Critical
findings come and go all the time; one is always there, repeated every two minutes.

At the end every notification that was committed has arrived, no channel has more copies than kills
and its own withheld answers, a critical finding was never untold, and no channel silent, for five minutes, and
the memory of the service is flat. Needs root for a small file system. Arguments: minutes, seed,
whether the service is killed (without kills its memory is seen over the whole time), output folder.
"""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.e2e.test_jira_channel import FakeJira
from tests.faults.lying_proxy import MODES, LyingProxy
from tests.faults.slack_stand_in import CHANNEL, SlackStandIn
from tests.fixtures.network import Endpoint
from tests.fixtures.notifications import Postbox, smtp
from tests.fixtures.secrets import write_secret

MINUTES = float(sys.argv[1]) if sys.argv[1:] else 30.0
SEED = int(sys.argv[2]) if sys.argv[2:] else 1
KILLS = "kills" in sys.argv[3:4] or not sys.argv[3:]
OUTPUT = Path(sys.argv[4]) if sys.argv[4:] else None
ROOT = Path(__file__).parents[2]
LONGEST_SILENCE = 300.0
PATIENCE = 1800.0
"""The longest back-off is 15 minutes."""
STATUSES = ((500, {}), (503, {"Retry-After": "7"}), (401, {}), (429, {"Retry-After": "3"}))
OBJECT = re.compile(r"trouble-\d+")
CHECK = """-- title = "Planted trouble"
-- cost = "cheap"
-- reads = "rows"
-- remedy = "none"
SELECT object, 1 AS value, severity, 'planted' AS summary FROM public.trouble
"""
CONFIG = """
[daemon]
name = "faults"
state = "{state}/state.db"
checks = "{folder}/checks.d"
listen = ""
[databases.main]
dsn = "{dsn}"
[schedules.minutely]
cron = "* * * * *"
window = "1m"
jobs = ["integrity_check"]
[routes]
warning = ["slack", "email"]
high = ["slack", "email", "ticket", "jira", "tell"]
critical = ["slack", "email", "ticket", "jira", "page", "tell", "metrics"]
[repeat]
critical = "2m"
[alerts]
group_wait = "1s"
group_interval = "5s"
[channels.slack]
type = "slack"
token = {{ file = "{folder}/secret" }}
channel = "{slack_channel}"
api_url = "http://127.0.0.1:{slack}/api/"
[channels.email]
type = "email"
host = "127.0.0.1"
port = {email}
tls = "none"
to = ["guardia@example.org"]
[channels.ticket]
type = "webhook"
url = "http://127.0.0.1:{ticket}/"
[channels.jira]
type = "jira"
url = "http://127.0.0.1:{jira}"
token = {{ file = "{folder}/secret" }}
project = "OPS"
[channels.page]
type = "pagerduty"
routing_key = {{ file = "{folder}/secret" }}
url = "http://127.0.0.1:{page}/enqueue"
[channels.metrics]
type = "alertmanager"
url = "http://127.0.0.1:{metrics}"
[channels.tell]
type = "command"
command = ["/bin/sh", "{folder}/tell"]
"""


class Receivers:
    """The servers of all channels, each behind a proxy that can lie."""

    def __init__(self, folder, stack):
        self.status, self.jira, self.postbox = {}, FakeJira(), Postbox()
        self.told = folder / "told"
        self.told.touch()
        (folder / "tell").write_text(f'test -e {folder}/tell-fails && exit 1\n(cat; echo) >> "{self.told}"\n')  # fmt: skip
        self.tell_fails = folder / "tell-fails"
        answers = {"ticket": lambda *_: (200, {}, b"{}"), "page": lambda *_: (202, {}, b"{}"), "metrics": lambda *_: (200, {}, b"{}"), "jira": self.jira}  # fmt: skip
        self.endpoints = {name: Endpoint(self._answer(name, one)) for name, one in answers.items()}
        self.slack = SlackStandIn(0.2)
        ports = {name: one.port for name, one in self.endpoints.items()}
        ports["slack"] = int(self.slack.url.split(":")[2].split("/")[0])
        self.proxies = {name: LyingProxy(port) for name, port in ports.items()}
        mail = stack.enter_context(smtp(self.postbox))
        self.proxies["email"] = LyingProxy(mail, b"\r\n.\r\n")
        self.accepted = Counter()

    def _answer(self, name, honest):
        def answer(number, request):
            if name in self.status:
                status, headers = self.status[name]
                return status, headers, b"{}"
            if name != "jira":
                self.accepted[name, request["headers"].get("webhook-id", "")] += 1
            return honest(number, request)

        return answer

    def texts(self):
        """Return everything received, as one text per message."""
        for name in ("ticket", "page", "metrics", "jira"):
            yield from (one["body"].decode("utf-8", "replace") for one in list(self.endpoints[name].requests))  # fmt: skip
        yield from (json.dumps(one["blocks"]) + one["text"] for one in list(self.slack.messages))
        yield from (mail.as_string() for mail, _, _ in list(self.postbox.mails))
        yield from self.told.read_text().splitlines()

    def count(self):
        return (sum(len(one.requests) for one in self.endpoints.values()) + len(self.slack.messages)
                + len(self.postbox.mails) + self.told.stat().st_size)  # fmt: skip

    def lie(self, random_source, stop):
        """Let up to three channels lie for a while."""
        names = random_source.sample(sorted([*self.proxies, "tell"]), random_source.randint(1, 3))
        for name in names:
            if name == "tell":
                self.tell_fails.touch()
            elif name in self.endpoints and random_source.random() < 0.4:
                self.status[name] = random_source.choice(STATUSES)
            else:
                self.proxies[name].mode = random_source.choice(MODES)
        stop.wait(random_source.uniform(10, 75))
        self.honest()

    def honest(self):
        self.status.clear()
        self.tell_fails.unlink(missing_ok=True)
        for proxy in self.proxies.values():
            proxy.mode = "pass"


class Supervisor:
    """Keeps the service running as systemd does, samples its memory, and disturbs it."""

    def __init__(self, config, log):
        self._config, self._log = config, log
        self.kills = self.starts = 0
        self.memory = []
        self._stop = threading.Event()
        self.steady = threading.Lock()
        """Held while the state file is away: a service that starts then begins with a new one."""
        self._thread = threading.Thread(target=self._keep)
        self.process = None
        self._thread.start()

    def _keep(self):
        while not self._stop.is_set():
            self.starts += 1
            began = time.monotonic()
            self.process = subprocess.Popen([sys.executable, "-m", "daemon", "run", "--config", self._config], stdout=self._log, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "MALLOC_ARENA_MAX": "2"})  # fmt: skip
            while self.process.poll() is None:
                with contextlib.suppress(OSError, StopIteration):
                    status = Path(f"/proc/{self.process.pid}/status").read_text()
                    used = next(line for line in status.splitlines() if line.startswith("VmRSS"))
                    self.memory.append((self.starts, time.monotonic() - began, int(used.split()[1])))  # fmt: skip
                self._stop.wait(2)
                if self._stop.is_set():
                    self.process.send_signal(signal.SIGTERM)
                    self.process.wait(60)
            self._stop.wait(3)

    def disturb(self, random_source, stop):
        stop.wait(random_source.uniform(60, 200))
        with self.steady:
            if KILLS and random_source.random() < 0.7:
                self.kills += 1
                self.process.kill()
            elif KILLS:
                self.process.send_signal(signal.SIGTERM)
            else:
                self.process.send_signal(signal.SIGHUP)
            time.sleep(8)  # until it has been started again

    def end(self):
        self._stop.set()
        self._thread.join()


class Troubles:
    """Rows that the check reports: one always there, others for a few minutes."""

    def __init__(self, dsn):
        self._dsn = dsn
        self.planted, self.first_told = {}, {}
        self._count = 0

    def change(self, statement, parameters=()):
        """Run a statement; return whether the server was there."""
        with contextlib.suppress(psycopg.Error), psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:  # fmt: skip
            connection.execute(statement, parameters)
            return True
        return False

    def plant(self, random_source, stop):
        severity = random_source.choice(("critical", "critical", "high", "warning"))
        self._count += 1
        name = f"trouble-{self._count}"
        if self.change("INSERT INTO public.trouble VALUES (%s, %s)", (name, severity)):
            self.planted[name] = (severity, time.monotonic(), None)
        for old, (of, at, ended) in list(self.planted.items()):
            due = time.monotonic() - at > random_source.uniform(400, 700)
            if ended is None and due and self.change("DELETE FROM public.trouble WHERE object = %s", (old,)):  # fmt: skip
                self.planted[old] = (of, at, time.monotonic())
        stop.wait(random_source.uniform(8, 25))

    def watch(self, receivers, now):
        """Note when each trouble was first told."""
        for text in receivers.texts():
            for name in OBJECT.findall(text):
                self.first_told.setdefault(name, now)

    def longest_untold(self, ended):
        """Return the longest time that a critical trouble existed without having been told."""
        waits = [
            self.first_told.get(name, gone or ended) - at
            for name, (severity, at, gone) in self.planted.items()
            if severity == "critical"
        ]
        return max(waits, default=0.0)


def crash_server(cluster, troubles, random_source, stop):
    stop.wait(random_source.uniform(60, 180))
    if random_source.random() < 0.5:
        troubles.change("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'sereno%'")  # fmt: skip
        return
    cluster.stop("immediate")
    stop.wait(random_source.uniform(5, 60))
    cluster.start()


def disturb_state(small, supervisor, random_source, stop):
    stop.wait(random_source.uniform(60, 180))
    seconds = random_source.uniform(10, 70)
    if random_source.random() < 0.7:
        subprocess.run(["dd", "if=/dev/zero", f"of={small}/fill", "bs=4k"], capture_output=True, check=False)  # fmt: skip
        stop.wait(seconds)
        (small / "fill").unlink()
    else:
        with supervisor.steady:
            (small / "state.db").rename(small / "away")
            stop.wait(seconds)
            (small / "away").replace(small / "state.db")


def repeated(work, *arguments):
    stop = arguments[-1]

    def work_on():
        while not stop.is_set():
            work(*arguments)

    thread = threading.Thread(target=work_on)
    thread.start()
    return thread


def waiting(state):
    with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM notification GROUP BY 1"))


def examine(state, receivers):
    """Return the lost and the doubled copies of each channel."""
    with contextlib.closing(sqlite3.connect(state)) as connection:
        sent = list(connection.execute("SELECT channel, coalesce(nullif(bundle, ''), id), message FROM notification WHERE state = 'sent' AND receipt NOT LIKE '%none was created%'"))  # fmt: skip
    owed = {name: {bundle for channel, bundle, _ in sent if channel == name} for name in ("slack", "email", "ticket", "tell")}  # fmt: skip
    got = {
        "slack": Counter(one["id"] for one in receivers.slack.posts()),
        "email": Counter(mail["Message-ID"][1:].partition("@")[0] for mail, _, _ in receivers.postbox.mails),
        "ticket": Counter({key: count for (name, key), count in receivers.accepted.items() if name == "ticket"}),
        "tell": Counter(json.loads(line)["id"] for line in receivers.told.read_text().splitlines() if line),
    }  # fmt: skip
    lost = {name: len(owed[name] - got[name].keys()) for name in owed}
    copies = {name: sum(count - 1 for count in got[name].values()) for name in owed}
    prints = {json.loads(message)["fingerprint"] for channel, _, message in sent if channel in {"page", "jira"}}  # fmt: skip
    paged = {json.loads(one["body"]).get("dedup_key") for one in receivers.endpoints["page"].requests}  # fmt: skip
    labels = Counter(label for one in receivers.jira.issues.values() for label in one["fields"]["labels"] if label.startswith("sereno-"))  # fmt: skip
    named = {label.removeprefix("sereno-") for label in labels}
    pages = {json.loads(message)["fingerprint"] for channel, _, message in sent if channel == "page"}  # fmt: skip
    lost |= {"page": len(pages - paged), "jira": len({one for one in prints if one} - named - paged)}  # fmt: skip
    copies["jira"] = sum(count - 1 for count in labels.values())
    for label in (name for name, count in labels.items() if count > 1):
        made = {key: (one["at"], one["fields"]) for key, one in receivers.jira.issues.items() if label in one["fields"]["labels"]}  # fmt: skip
        print(label, json.dumps(made, default=str), file=sys.stderr)
    return lost, copies


def draw(supervisor, path):
    """Draw the resident memory of each process of the service over its age."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.5))
    for number in range(1, supervisor.starts + 1):
        points = [(age / 60, used / 1000) for start, age, used in supervisor.memory if start == number]  # fmt: skip
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=1)
    axes.set(xlabel="age of the process, minutes", ylabel="resident memory, MB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def growth(supervisor):
    """Return the most that one process grew from its fifth minute on, in MB; and the peak."""
    grown = [0.0]
    for number in range(1, supervisor.starts + 1):
        used = [kilobytes for start, age, kilobytes in supervisor.memory if start == number and age > 300]  # fmt: skip
        if len(used) > 60:
            grown.append((max(used[-30:]) - max(used[:30])) / 1000)
    return max(grown), max(used for _, _, used in supervisor.memory) / 1000


def prepare(folder, stack):
    """Make the server, the receivers and the configuration; return them."""
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], check=True)
    stack.callback(subprocess.run, ["umount", "-l", small], check=True)
    cluster = Cluster(folder, embedded_binaries(), {"autovacuum": "off"}).create().start()
    stack.callback(cluster.stop, "immediate")
    receivers = Receivers(folder, stack)
    (folder / "checks.d").mkdir()
    (folder / "checks.d" / "trouble.sql").write_text(CHECK)
    write_secret(folder / "secret", "xoxb-canary")
    ports = {name: proxy.port for name, proxy in receivers.proxies.items()}
    path = folder / "config.toml"
    path.write_text(CONFIG.format(folder=folder, state=small, dsn=cluster.dsn(), slack_channel=CHANNEL, **ports))  # fmt: skip
    troubles = Troubles(cluster.dsn())
    troubles.change("CREATE TABLE public.trouble (object text, severity text)")
    troubles.change("INSERT INTO public.trouble VALUES ('always', 'critical')")
    return small, cluster, receivers, path, troubles


def main():
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        small, cluster, receivers, path, troubles = prepare(folder, stack)
        output = OUTPUT or folder
        output.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context((output / f"service-{SEED}.log").open("wb"))
        supervisor = Supervisor(path, log)
        sources = [random.Random(SEED * 100 + number) for number in range(5)]
        threads = [
            repeated(receivers.lie, sources[0], stop),
            repeated(supervisor.disturb, sources[1], stop),
            repeated(crash_server, cluster, troubles, sources[2], stop),
            repeated(disturb_state, small, supervisor, sources[3], stop),
            repeated(troubles.plant, sources[4], stop),
        ]
        began, silence = time.monotonic(), watch(receivers, troubles)
        stop.set()
        for thread in threads:
            thread.join()
        receivers.honest()
        ended = time.monotonic()
        troubles.change("DELETE FROM public.trouble")
        while (left := settle(small / "state.db")) and time.monotonic() - ended < PATIENCE:
            time.sleep(2)
            troubles.watch(receivers, time.monotonic())
        supervisor.end()
        lost, copies = examine(small / "state.db", receivers)
        states = waiting(small / "state.db")
        report(supervisor, receivers, troubles, (lost, copies, states, left, silence, ended, began))
        if OUTPUT:
            draw(supervisor, OUTPUT / f"memory-{SEED}.png")
    untold = troubles.longest_untold(ended)
    cuts = {name: proxy.cuts for name, proxy in receivers.proxies.items()} | {"slack": 0}
    doubled = any(count > supervisor.kills + cuts.get(name, 0) for name, count in copies.items())
    late = max(untold, silence) > LONGEST_SILENCE
    sys.exit(bool(sum(lost.values()) or left or states.get("dead") or doubled or late or growth(supervisor)[0] > 20))  # fmt: skip


def settle(state):
    """Return the number of messages that still wait."""
    counts = waiting(state)
    return counts.get("pending", 0) + counts.get("leased", 0)


def watch(receivers, troubles):
    """Watch for the given minutes; return the longest time in which no channel got anything."""
    began = last = time.monotonic()
    seen, longest = 0, 0.0
    while time.monotonic() - began < MINUTES * 60:
        time.sleep(1)
        now = time.monotonic()
        if (count := receivers.count()) != seen:
            seen, last = count, now
            troubles.watch(receivers, now)
        longest = max(longest, now - last)
    return longest


def report(supervisor, receivers, troubles, figures):
    lost, copies, states, left, silence, ended, began = figures
    cuts = {name: proxy.cuts for name, proxy in receivers.proxies.items() if proxy.cuts}
    grown, peak = growth(supervisor)
    told = sum(name in troubles.first_told for name in troubles.planted)
    print(
        f"service: {(ended - began) / 60:.0f} min, seed {SEED}, {supervisor.kills} kills, {supervisor.starts} starts; "
        f"{len(troubles.planted)} troubles, {told} told; messages {states}, still waiting {left}; lost {lost}; copies {copies}; "
        f"answers withheld {cuts}; critical untold at most {troubles.longest_untold(ended):.0f} s; "
        f"longest silence {silence:.0f} s; memory peak {peak:.0f} MB, grown {grown:.1f} MB; "
        f"settled after {time.monotonic() - ended:.0f} s"
    )


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    main()
