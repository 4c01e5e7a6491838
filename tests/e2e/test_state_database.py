"""The service with its state in a database: outages, other services, what is refused."""

import json
import re
import signal
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from daemon.demo.cluster import free_port
from daemon.unrecorded_alerts import MARK
from store.state_database import _opened
from store.store import StoreError
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


OUTAGES = {
    "away": (away, "not currently accepting connections|no session within"),
    "older": (
        changed("UPDATE instance SET value = '0' WHERE name = 'checks'",
                "UPDATE instance SET value = '1000000' WHERE name = 'checks'"),
        "an older copy",
    ),
    "newer": (
        changed("UPDATE schema_version SET version = 99", "UPDATE schema_version SET version = 12"),
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
        for task in Path(f"/proc/{service.pid}/task").iterdir():
            status = dict(
                line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
            )
            blocked = int(status["SigBlk"], 16)
            waits = task.name == str(service.pid)  # in sigtimedwait they are not blocked
            for one in (signal.SIGHUP, signal.SIGTERM):
                assert waits or blocked >> (one - 1) & 1, status["Name"]


def test_configuration_warns_of_a_state_in_a_maintained_server(shared):
    house, _ = shared
    told = house.sereno("config", "check")
    assert "daemon.state: it is in the server of main: when that one is down" in told.stderr


def test_default_state_imports_no_pool(house):
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
