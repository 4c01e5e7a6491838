"""The service with its state in a database: outages, other services, what is refused."""

import json
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daemon.demo.cluster import free_port
from daemon.history import history
from daemon.history.worker import this_worker
from daemon.runs.recovery import recover_interrupted_runs
from daemon.unrecorded_alerts import MARK
from store.file_lock import LockHeldError
from store.state_database import _opened
from store.store import StoreError
from store.timestamps import to_text
from tests.e2e.service_process import (
    ANALYZING,
    SLOW_ANALYZE,
    query,
    running_service,
    runs,
    schedule_now,
)
from tests.e2e.test_state_outages import CHANNEL, FAST, health

PLACE = "state.db"


@pytest.fixture
def shared(house, state_databases):
    """Return a house whose state is in a database, and what may be done to that one."""
    house.state = state_databases.url(house.folder / PLACE)
    house.with_logins = False
    house.listen = f"127.0.0.1:{free_port()}"
    return house, state_databases


@contextmanager
def away(house, states):
    states.take_away(house.folder / PLACE)
    yield
    states.give_back(house.folder / PLACE)


def changed(change, back):
    @contextmanager
    def outage(house, _states):
        with psycopg.connect(house.state, autocommit=True) as connection:
            connection.execute("SET search_path = sereno_state")
            (before,) = connection.execute(
                "SELECT value FROM instance WHERE name = 'id'"
            ).fetchone()
            connection.execute(change)
            yield
            connection.execute(back, (before,) if "%s" in back else ())

    return outage


def checks(house):
    with psycopg.connect(house.state) as connection:
        rows = connection.execute(
            "SELECT value::int FROM sereno_state.instance WHERE name = 'checks'"
        ).fetchall()
    return rows[0][0] if rows else 0


OUTAGES = {
    "away": (away, "not currently accepting connections"),
    "older": (
        changed("UPDATE instance SET value = '0' WHERE name = 'checks'",
                "UPDATE instance SET value = '1000000' WHERE name = 'checks'"),
        "an older copy",
    ),
    "newer": (
        changed("UPDATE schema_version SET version = 99", "UPDATE schema_version SET version = 13"),
        "its schema is 99",
    ),
    "other": (
        changed("UPDATE instance SET value = 'x' WHERE name = 'id'",
                "UPDATE instance SET value = %s WHERE name = 'id'"),
        "of another instance",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTAGES)
def test_unusable_database_is_alerted_from_memory_and_recovers(shared, endpoint, wait, name):
    house, states = shared
    outage, reason = OUTAGES[name]
    ticket = endpoint()
    house.extra = CHANNEL.format(ticket.url)
    path = house.write()
    path.write_text(path.read_text().replace("0 2 * * *", "0 0 1 1 *"))
    house.write = lambda: path
    with running_service(house, **FAST) as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        wait(lambda: checks(house) > 1, what="further checks")
        with outage(house, states):
            wait(lambda: health(house.listen)[0] == 503, 60, "the outage")
            wait(lambda: re.search(reason, health(house.listen)[1]), 60, "the reason")
            wait(lambda: len(ticket.requests) == 1, 60, "the alert from memory")
            data = json.loads(ticket.requests[0]["body"])["data"]
            assert (data["kind"], data["severity"]) == ("state_unusable", "CRITICAL")
            assert data["details"]["unrecorded"] == MARK
        wait(lambda: health(house.listen) == (200, "well\n"), 60, "the recovery")
        wait(
            lambda: (
                [json.loads(one["body"])["data"]["state"] for one in ticket.requests][-1]
                == "resolved"
            ),
            60,
            "the resolved notification",
        )
        assert service.poll() is None
        second = house.sereno("run", check=False)
        assert second.returncode == 75, "it owns the outbox again"
        assert f"process {service.pid}" in second.stderr, second.stderr
    kinds = [alert["kind"] for alert in query(house, "alerts", "list", "--all")]
    assert kinds == ["state_unusable"]
    assert len(ticket.requests) == 2


def test_run_that_ends_during_an_outage_is_settled_once_and_adopted(shared, wait):
    house, states = shared
    house.database.run(SLOW_ANALYZE)
    schedule_now(house, ["analyze"])
    with running_service(house, **FAST):
        wait(lambda: house.database.rows(ANALYZING), 60, "the run")
        with away(house, states):
            wait(lambda: not house.database.rows(ANALYZING), 60, "the end of the run")
            wait(lambda: health(house.listen)[0] == 503, 60, "the outage")
        wait(lambda: health(house.listen)[0] == 200, 60, "the recovery")
        wait(lambda: any(one["state"] == "finished" for one in runs(house)), 60, "the record")
    done = [one for one in runs(house) if one["state"] == "finished"]
    assert len(done) == 1
    analyzed = house.database.rows(
        "SELECT analyze_count FROM pg_stat_user_tables WHERE relname = 't'"
    )
    assert [row["analyze_count"] for row in analyzed] == [1], "it was not done twice"


def test_what_is_wrong_with_the_database_is_said(house, state_databases, server):
    house.state = "postgresql://ana:secret@127.0.0.1/x"
    told = house.sereno("config", "check", check=False)
    assert (told.returncode, "secret" in told.stderr) == (78, False)
    assert "holds a password; let the parameter passfile name a file with it" in told.stderr
    house.state = "postgresql://127.0.0.1"
    told = house.sereno("config", "check", check=False)
    assert "names no database: postgresql://HOST/NAME" in told.stderr
    house.state = f"postgresql://127.0.0.1:{free_port()}/x?user=ana"
    for command in (("status",), ("now", "analyze"), ("run",)):
        told = house.sereno(*command, check=False)
        assert told.returncode != 0
        assert "Connection refused" in told.stderr, told.stderr
    url = state_databases.url(house.folder / PLACE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA sereno_state; CREATE TABLE sereno_state.other (a int)")
    with pytest.raises(StoreError, match="already exists"):
        _opened(url, house.folder, create=True)


def test_no_thread_lets_a_signal_end_the_service(shared, wait):
    """Those of the pool of the state neither; the main thread takes SIGHUP and SIGTERM by itself."""
    house, _ = shared
    with running_service(house) as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        blocked = dict(_blocked_signals(service.pid))
        assert len(blocked) > 3
        del blocked[service.pid]  # in sigtimedwait they are not blocked
        for one in (signal.SIGHUP, signal.SIGTERM):
            assert all(mask >> (one - 1) & 1 for mask in blocked.values())


def _blocked_signals(process):
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has ended
            status = (task / "status").read_text()
            yield int(task.name), int(re.search(r"SigBlk:\t(\w+)", status)[1], 16)


def test_configuration_warns_of_a_state_in_a_maintained_server(shared):
    house, _ = shared
    told = house.sereno("config", "check")
    assert "daemon.state: it is in the server of main: when that one is down" in told.stderr


def test_default_state_imports_no_pool(house):
    house.need_state_file()
    import subprocess
    import sys

    program = (
        "import sys; from pathlib import Path\n"
        "from daemon.bootstrap import build_context; from daemon.config.load import load_config\n"
        "from daemon.registry import JOB_NAMES; import daemon.service, daemon.cli.main\n"
        "build_context(load_config(Path(sys.argv[1]), JOB_NAMES))\n"
        "print(sorted({'psycopg_pool', 'procrastinate'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(house.write())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("postgresql://u:s3cret@h/d", "holds a password"),
        ("postgresql://u@h/d?sslpassword=s3cret", "holds a password"),
        ("postgresql://u:s3cret/x@h/d", "has a port that is no number"),
        ("postgresql://u:s3%zzcret@h/d", "is not a URL that libpq can read"),
        ("postgresql://u:s3cret@[::1]x/d", "is not a URL that libpq can read"),
    ],
)
def test_no_secret_of_a_url_is_accepted_or_repeated(house, url, wrong):
    from daemon.config.daemon import parse_state

    with pytest.raises(ValueError, match=wrong) as caught:
        parse_state(url)
    assert "s3" not in str(caught.value)
    told = house.sereno("state", "copy", "--to", url, check=False)
    assert (told.returncode, "s3" in told.stderr) == (2, False), told.stderr


def test_writers_fail_together_while_the_database_is_away_and_say_why(shared, wait):
    house, states = shared
    store = house.context().store
    said, took = [], []

    def write():
        began = time.monotonic()
        try:
            with store.transaction():
                pass
        except StoreError as error:
            said.append(str(error))
        took.append(time.monotonic() - began)

    with away(house, states):
        threads = [threading.Thread(target=write) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
        assert len(said) == 6
        assert all("not currently accepting connections" in one for one in said), said
        assert max(took) < 40, "they do not wait for each other's failure in turn"
    write()
    assert len(said) == 6, said


def test_service_that_another_one_has_displaced_ends(shared, wait):
    """Its session ended, and another process had the lock before it could take it again."""
    house, states = shared
    with running_service(house, WATCHDOG_USEC="15000000") as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        other = states.open(house.folder / PLACE)
        with psycopg.connect(house.state, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND a.datname = current_database()"
            )
            with other.owned(10.0):
                assert service.wait(60) == 75
        assert "another sereno owns the state" in service.stdout.read()


def test_requested_run_of_the_former_service_is_over_wherever_it_was(shared):
    """A run by hand of another host counts as at work; one of the former service does not."""
    house, _ = shared
    context = house.context()
    elsewhere = replace(this_worker(), host="elsewhere")
    with context.store.transaction() as transaction:
        history.replace_service(transaction, str(elsewhere))
        for worker in (elsewhere, replace(elsewhere, process=7)):
            transaction.execute(
                "INSERT INTO run (job, scope, database, started_at, state, process, worker)"
                " VALUES ('analyze', 'database', 'main', ?, 'running', 1, ?)",
                (to_text(context.clock()), str(worker)),
            )
    recover_interrupted_runs(context)
    with context.store.reading() as transaction:
        rows = transaction.rows("SELECT state FROM run ORDER BY id")
    assert [row["state"] for row in rows] == ["interrupted", "running"]


class HalfOpen:
    """Forwards connections to a socket; can close those of the client and keep the server's."""

    def __init__(self, path):
        self.path, self.pairs = path, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
                self.pairs.append((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def cut(self):
        for client, _ in self.pairs:
            client.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        for one in (one for pair in self.pairs for one in pair):
            one.close()


def test_lock_of_a_lost_session_that_the_server_still_has_is_taken_over(house, state_databases):
    url = state_databases.url(house.folder / PLACE)
    server = state_databases.server
    proxy = HalfOpen(f"{server.socket}/.s.PGSQL.{server.port}")
    port, name = proxy.listener.getsockname()[1], url.rpartition("/")[2]
    store = _opened(f"postgresql://postgres@127.0.0.1:{port}/{name}", house.folder, create=True)
    try:
        with store.owned():
            before = store.owner[0].process
            proxy.cut()
            store.confirm_owned()
            assert store.owner[0].process != before
            store.confirm_owned()
            other = state_databases.open(house.folder / PLACE)
            with pytest.raises(LockHeldError), other.owned():
                pass
    finally:
        store.pool.close()
        proxy.close()
