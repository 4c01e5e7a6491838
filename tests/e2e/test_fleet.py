"""Several workers with one state: they share work, die, freeze, are drained, and tell the same."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from daemon.fleet.leader import HandOut
from daemon.fleet.queue import prepare
from daemon.history import fleet as statements
from daemon.history import history
from daemon.liveness import Watchdog
from daemon.runs.recovery import LIVE_RUNS, recover_interrupted_runs
from daemon.runs.result import RunState
from daemon.runs.runner import Runner
from domain.cause import Cause
from domain.task import Scope, Task, Trigger
from execution.progress import NoProgress
from execution.window import open_window
from postgres.session import MAINTAIN, Credentials, Target
from store.opening import open_store
from tests.e2e.service_process import ANALYZING, SLOW_ANALYZE, query, runs, schedule_now
from tests.fixtures.groups import look, open_alerts

ROOT = Path(__file__).parents[2]
FAST = (
    "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'"
)
STALLED = 'stalled_after = "10s"\n'


class Worker:
    """A worker in a process of its own, which logs to a file."""

    def __init__(self, house, name, **environment):
        self.name, self.log = name, house.folder / f"{name}.log"
        command = [sys.executable, "-m", "daemon", "run", "--worker", "--as", name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", house.path],
                stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **environment},
            )  # fmt: skip

    def events(self):
        """Return the names of the logged events."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def stop(self):
        """Stop it as systemd does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def fleet(house, state_databases):
    """Return a house whose state is in a database, and what starts a worker."""
    if not house.state:
        house.state = state_databases.url(house.folder / "state.db")
    house.with_logins = False
    house.extra = f"[fleet]\n{STALLED}"
    started = []

    def start(name, **environment):
        started.append(Worker(house, name, **environment))
        return started[-1]

    yield house, start
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        print(worker.name, worker.log.read_text())  # noqa: T201 - shown where a test fails


def joined(worker):
    return "fleet.joined" in worker.events()


def leads(worker):
    return "service.started" in worker.events()


def workers(house):
    return {one["name"]: one for one in query(house, "fleet", "workers")}


def leader_and_follower(house, start, wait):
    house.write()
    one = start("one")
    wait(lambda: leads(one), 20)
    two = start("two")
    wait(lambda: joined(two), 20)
    return one, two


def one_at_work(house, start, wait):
    """Start two workers of which the first leads and is within a long run; the next is short."""
    house.database.run(SLOW_ANALYZE)
    schedule_now(house, ["analyze"])
    one = start("one")
    wait(lambda: house.database.rows(ANALYZING), 30)
    two = start("two")
    wait(lambda: joined(two), 20)
    house.database.run(FAST)
    return one, two


def test_workers_share_the_work_of_many_databases(fleet, group, wait):
    house, start = fleet
    group.configure(f"[fleet]\n{STALLED}worker_at_once = 2\n")
    names = {group.create(f"db{number}") for number in range(6)}
    look(house.context())
    schedule_now(house, ["analyze"])
    some = [start("one"), start("two")]
    wait(lambda: all(map(joined, some)), 20)

    def finished():
        return [run for run in query(house, "history") if run["state"] == "finished"]

    wait(lambda: len(finished()) >= len(names) + 1, 60)
    done = [run["database"] for run in finished()]
    assert sorted(done) == sorted({"main", *names})
    status = query(house, "fleet", "status")
    assert status["leader"] in {"one", "two"}
    assert [one["state"] for one in status["workers"]] == ["working", "working"]
    assert "2 at work" in house.sereno("status").stdout
    assert [one.stop() for one in some] == [0, 0]
    assert workers(house) == {}, "who leaves is not missed"


def test_work_of_a_killed_worker_is_taken_up(fleet, wait):
    house, start = fleet
    one, two = one_at_work(house, start, wait)
    one.process.kill()
    wait(lambda: [run["state"] for run in runs(house)] == ["finished", "interrupted"], 60)
    assert leads(two)
    assert "gives no sign of life" in runs(house)[1]["reason"]
    assert workers(house)["one"]["state"] == "silent"
    wait(lambda: "worker_silent" in {kind for kind, _ in open_alerts(house.context())}, 30)
    assert "removed from the list" in house.sereno("fleet", "drain", "one").stdout
    wait(lambda: "worker_silent" not in {kind for kind, _ in open_alerts(house.context())}, 20)


def test_stopped_worker_gives_its_work_back_at_once(fleet, wait):
    house, start = fleet
    one, _ = one_at_work(house, start, wait)
    stopped_at = datetime.now(UTC)
    assert one.stop() == 0
    wait(lambda: [run["state"] for run in runs(house)] == ["finished", "interrupted"], 30)
    begun = datetime.fromisoformat(runs(house)[0]["started_at"])
    assert begun - stopped_at < timedelta(seconds=9), "sooner than a silent worker's"
    assert not open_alerts(house.context())


def test_frozen_leader_is_replaced_and_follows_afterwards(fleet, wait):
    house, start = fleet
    one, two = leader_and_follower(house, start, wait)
    one.process.send_signal(signal.SIGSTOP)
    wait(lambda: leads(two), 60)
    one.process.send_signal(signal.SIGCONT)
    wait(lambda: "fleet.displaced" in one.events(), 60)
    assert one.process.poll() is None
    wait(lambda: {w["state"] for w in workers(house).values()} == {"working"}, 30)
    assert query(house, "fleet", "status")["leader"] == "two"


def test_drained_worker_takes_nothing_and_another_leads(fleet, wait):
    house, start = fleet
    house.write()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(house.folder / "notify"))
        drained_leader(
            house, wait, lambda name: start(name, NOTIFY_SOCKET=str(house.folder / "notify"))
        )
        systemd.settimeout(0)
        told = b"".join(iter(lambda: received(systemd), b""))
    assert b"READY=1" in told
    assert told.count(b"STOPPING=1") == 0, "systemd would end the process"


def received(systemd):
    try:
        return systemd.recv(65536)
    except BlockingIOError:
        return b""


def drained_leader(house, wait, start):
    one = start("one")
    wait(lambda: leads(one), 20)
    alone = house.sereno("fleet", "drain", "one", check=False)
    assert (alone.returncode, "the only worker" in alone.stderr) == (75, True)
    unknown = house.sereno("fleet", "drain", "on", check=False)
    assert (unknown.returncode, "did you mean 'one'" in unknown.stderr) == (2, True)
    two = start("two")
    wait(lambda: joined(two), 20)
    assert "takes nothing more" in house.sereno("fleet", "drain", "one", "--wait").stdout
    wait(lambda: leads(two), 30)
    assert workers(house)["one"]["state"] == "drained"
    schedule_now(house, ["analyze"])
    two.process.send_signal(signal.SIGHUP)
    wait(lambda: [run["state"] for run in runs(house)] == ["finished"], 60)
    assert workers(house)["one"]["state"] == "drained"


def test_drained_worker_that_stopped_is_remembered(fleet, wait):
    house, start = fleet
    house.write()
    one, two = start("one"), start("two")
    wait(lambda: joined(one) and joined(two), 20)
    house.sereno("fleet", "drain", "one")
    assert one.stop() == 0
    assert workers(house)["one"]["state"] == "stopped", "it is drained when it starts again"
    wait(lambda: leads(two), 20)
    told = house.sereno("fleet", "status", check=False)
    assert (told.returncode, "one is drained and stopped" in told.stdout) == (0, True)
    assert "takes work again" in house.sereno("fleet", "drain", "one", "--undo").stdout
    assert "one" not in workers(house)
    assert "was not drained" in house.sereno("fleet", "drain", "two", "--undo").stdout


def test_worker_with_another_configuration_is_told(fleet, wait):
    house, start = fleet
    house.write()
    one = start("one")
    wait(lambda: leads(one), 20)
    assert "another configuration" not in house.sereno("fleet", "status").stdout
    house.extra += '[schedules.other]\ncron = "0 5 * * *"\njobs = ["analyze"]\n'
    house.write()
    two = start("two")
    wait(lambda: joined(two), 20)
    status = house.sereno("fleet", "status").stdout
    assert "two has another configuration than the leader" in status
    assert [one["differs"] for one in workers(house).values()] == [False, True]


def test_run_beside_workers_and_wrong_options_are_refused(fleet, wait):
    house, start = fleet
    house.write()
    one = start("one")
    wait(lambda: leads(one), 20)

    def refused(*arguments):
        done = house.sereno("run", *arguments, check=False)
        return done.returncode, done.stderr.splitlines()[-1]

    code, told = refused()
    assert (code, "workers share this state (one): run this one as a worker too" in told) == (
        75,
        True,
    )
    code, told = refused("--worker", "--as", "one")
    assert (code, "the worker one is process" in told) == (75, True)
    assert refused("--as", "two")[0] == 2
    code, told = refused("--worker", "--as", "two words")
    assert (code, "'two words' is not a name" in told) == (2, True)
    house.state = None
    code, told = refused("--worker")
    assert (code, "postgresql://HOST/NAME" in told) == (78, True)
    assert not (house.folder / "state.db").exists(), "nothing is made before it is refused"


def test_every_worker_tells_the_same(fleet, wait):
    house, start = fleet
    ports = []
    for name in ("one", "two"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
        house.listen = f"127.0.0.1:{ports[-1]}"
        house.write()
        worker = start(name)
        wait(lambda w=worker: joined(w), 20)
        wait(lambda p=ports[-1]: answers(p), 20)

    def told(port):
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if line.startswith(("sereno_worker", "sereno_alerts"))]

    wait(lambda: told(ports[0]) == told(ports[1]), 20)
    assert 'sereno_worker_up{worker="two"} 1.0' in told(ports[0])


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_workers_survive_an_outage_of_the_state(fleet, state_databases, wait):
    house, start = fleet
    if os.environ.get("SERENO_TEST_STATE"):
        state_databases = house.states
    one, two = one_at_work(house, start, wait)
    state_databases.take_away(house.folder / "state.db")
    since = time.monotonic()
    wait(lambda: time.monotonic() - since > 14, 20, "longer than stalled_after")
    state_databases.give_back(house.folder / "state.db")
    wait(lambda: runs(house)[0]["state"] == "finished", 90)
    wait(lambda: not open_alerts(house.context()), 60, "each alert ends, that from memory too")
    told = one.events() + two.events()
    assert not {"errand.stalled", "fleet.leader_silent"} & set(told), "nobody could give a sign"
    assert not [line for line in query(house, "history") if "no sign of life" in line["reason"]]
    assert one.process.poll() is None
    assert two.process.poll() is None
    with psycopg.connect(house.state) as connection:
        assert connection.execute(
            "SELECT count(*) FROM sereno_queue.procrastinate_jobs"
        ).fetchone() == (0,)


def test_missing_database_is_retired_by_hand(house, group):
    name = group.create("gone")
    context = look(house.context())
    there = house.sereno("fleet", "retire", name, check=False)
    assert (there.returncode, "is there" in there.stderr) == (2, True)
    other = group.create("dropped_now")
    look(context)
    group.drop("dropped_now")
    assert "is retired" in house.sereno("fleet", "retire", other).stdout, "its server is asked"
    group.drop("gone")
    look(context)
    assert ("database_missing", name) in open_alerts(house.context())
    (row,) = [one for one in query(house, "fleet", "databases") if one["name"] == name]
    assert row["missing"]
    assert "is retired" in house.sereno("fleet", "retire", name).stdout
    assert not [one for one in query(house, "fleet", "databases") if one["name"] == name]
    assert ("database_missing", name) not in open_alerts(house.context())
    again = house.sereno("fleet", "retire", name, check=False)
    assert (again.returncode, "(missing: none)" in again.stderr) == (2, True)


def test_fleet_without_workers_is_told_plainly(house):
    house.context()
    assert "no worker" in house.sereno("fleet", "workers").stdout
    assert "leader     none" in house.sereno("fleet", "status").stdout
    assert "main" in house.sereno("fleet", "databases").stdout


def test_signs_of_workers_are_recorded_on_both_states(any_state, tmp_path):
    store = open_store(tmp_path / "state.db")
    now = datetime(2026, 11, 30, tzinfo=UTC)
    with store.transaction() as transaction:
        statements.sign(transaction, "one", "p 1", ("1.0", 8, "a"), now)
        statements.drain(transaction, "one", draining=True)
        statements.sign(transaction, "one", "p 2", ("1.1", 4, "b"), now + timedelta(seconds=9))
        (one,) = statements.load_workers(transaction)
        assert (one.draining, one.at_once, one.began_at) == (True, 4, now + timedelta(seconds=9))
        statements.leave(transaction, "one", "p 1")
        assert statements.load_workers(transaction)[0].process == "p 2", "not by another process"
        statements.leave(transaction, "one", "p 2")
        assert statements.load_workers(transaction)[0].state(now, timedelta(1)) == "stopped"
        statements.drain(transaction, "one", draining=False)
        assert not statements.load_workers(transaction)


def test_server_that_does_not_answer_leaves_its_place_and_is_still_owed(house):
    context = house.context()
    runner = Runner(replace(context, target=unreachable), NoProgress())
    runner.tries_at_most = 2
    task = Task("analyze", Scope.DATABASE, "main", Trigger("daily", datetime(2026, 11, 30, 2, 0)))  # noqa: DTZ001 - a local minute
    ended = runner.run(task, open_window(600))
    assert (ended.state, ended.cause) == (RunState.INTERRUPTED, Cause.UNREACHABLE)
    assert ended.reason.startswith("the others go first")
    with context.store.reading() as transaction:
        assert not history.load_settled(transaction, task.trigger)
    assert ("database_unreachable", "main") in open_alerts(context)


def unreachable(name):
    return Target(name, "host=127.0.0.1 port=1 dbname=x", {MAINTAIN: Credentials("x", None)}, "UTC")


def test_reload_of_a_worker_that_follows(fleet, wait):
    house, start = fleet
    _, two = leader_and_follower(house, start, wait)
    house.extra += "worker_at_once = 99\n"
    house.write()
    two.process.send_signal(signal.SIGHUP)
    wait(lambda: ("configuration_invalid", "") in open_alerts(house_context(house)), 20)
    house.extra = f"[fleet]\n{STALLED}"
    house.write()
    two.process.send_signal(signal.SIGHUP)
    wait(lambda: "service.reloaded" in two.events(), 20)
    wait(lambda: not open_alerts(house.context()), 20)


def house_context(house):
    """Return a context of the house with a configuration that can be loaded."""
    kept, house.extra = house.extra, ""
    path, house.path = house.path, house.folder / "other.toml"
    try:
        return house.context()
    finally:
        house.extra, house.path = kept, path


class Limits:
    """Takes what a look at the queue says."""

    def renew_limits(self):
        pass

    def put_off(self, end, *, until_later, down):
        pass


@pytest.fixture
def displaced(fleet):
    """Return the part of a leader whose place another took, and its context."""
    house, _ = fleet
    context = house.context()
    prepare(context.store)
    with context.store.transaction() as transaction:
        history.replace_service(transaction, "another")
    return HandOut(context, Watchdog()), context


def test_leader_whose_place_another_took_notices_it(displaced, wait):
    hand_out, context = displaced
    hand_out.begin(context, Limits())
    wait(lambda: hand_out.displaced, 10)
    hand_out.close()


def test_offer_of_a_displaced_leader_waits_for_its_end(displaced, wait):
    hand_out, ended = displaced[0], []
    tasks = [Task("analyze", Scope.DATABASE, "main", Trigger())]
    offering = threading.Thread(
        target=lambda: ended.append(hand_out.offer(tasks, open_window(600)))
    )
    offering.start()
    wait(lambda: hand_out.displaced, 10)
    assert offering.is_alive()
    hand_out.close()
    offering.join(10)
    assert ended == [None]


def test_new_leader_leaves_its_own_runs_alone(house):
    context = house.context()
    task = Task("analyze", Scope.DATABASE, "main", Trigger("daily", datetime(2026, 11, 30, 2, 0)))  # noqa: DTZ001 - a local minute
    with context.store.transaction() as transaction:
        live = history.begin_run(transaction, task, context.clock())
        dead = history.begin_run(transaction, task, context.clock())
    LIVE_RUNS.add(live)
    recover_interrupted_runs(context, leads=True)
    LIVE_RUNS.discard(live)
    with context.store.reading() as transaction:
        states = {one["id"]: one["state"] for one in history.load_runs(transaction, 5)}
    assert states == {live: "running", dead: "interrupted"}


def test_database_that_does_not_answer_leaves_its_place_to_others(fleet, wait):
    house, start = fleet
    house.extra = (
        f"[fleet]\n{STALLED}worker_at_once = 1\n"
        '[databases.down]\ndsn = "host=127.0.0.1 port=1 dbname=x user=x"\npriority = 9\n'
    )
    schedule_now(house, ["analyze"])
    one = start("one")
    wait(lambda: runs(house, database="down"), 30, "it goes first")
    wait(lambda: runs(house) and runs(house)[0]["state"] == "finished", 60)
    assert runs(house, database="down") == [], "a try that reached nothing is no run"
    assert ("database_unreachable", "down") in open_alerts(house.context())
    assert one.stop() == 0
