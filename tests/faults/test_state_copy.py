"""`sereno state copy`: every row arrives, also after kills in the middle; nothing else is taken."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from alerts import alert_store
from daemon.history import history
from domain.finding import Finding, Identity, Severity
from domain.task import Scope, Task
from store.copying import TABLES, _digest, _table, copy_state
from store.opening import open_store
from store.state_database import _opened
from store.store import StoreError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def filled(house, state_databases):
    """Return a house with a long history, the store, and the URL of an empty database."""
    house.need_state_file()
    context = house.context()
    with context.store.transaction() as transaction:
        for number in range(3000):
            task = Task("vacuum", Scope.DATABASE, f"d{number % 40}")
            run = history.begin_run(transaction, task, NOW + timedelta(seconds=number))
            history.finish_run(transaction, run, ("finished", "ü\u2028", 0, None), NOW)
            transaction.execute(
                "INSERT INTO measure (run, name, database, object, value, taken_at)"
                " VALUES (?, 'bytes', ?, '', ?, 'x')",
                (run, task.database, number / 7),
            )
        transaction.execute("DELETE FROM run WHERE id > 2990")
    findings = [
        Finding(Identity("orphans", "test", object=f"o{number}"), Severity.HIGH, "a\0b")
        for number in range(50)
    ]
    context.process_findings(findings)
    return house, context.store, state_databases.url(house.folder / "new.db")


def same(source, url, folder):
    target = _opened(url, folder, create=False)
    try:
        with target.transaction() as transaction:
            tables = [_table(transaction, name) for name in TABLES]
        return [one.name for one in tables if _digest(source, one) != _digest(target, one)]
    finally:
        target.pool.close()


def test_copy_has_every_row_and_goes_on_with_the_numbers(filled):
    house, source, url = filled
    done = json.loads(house.sereno("state", "copy", "--to", url, "--json").stdout)
    assert (done["rows"]["run"], done["rows"]["alert"]) == (2990, 50)
    assert same(source, url, house.folder) == []
    house.state = url
    context = house.context()
    assert context.store.instance() == source.instance()
    with context.store.transaction() as transaction:
        assert history.begin_run(transaction, Task("vacuum", Scope.DATABASE, "main"), NOW) == 3001
        assert len(alert_store.load_open(transaction)) == 50
    assert "0 wait" not in house.sereno("status").stdout
    again = house.sereno("state", "copy", "--to", url, check=False)
    assert (again.returncode, "is a database already" in again.stderr) == (2, True)


def test_copy_that_is_killed_goes_on_and_is_no_state_before(filled):
    house, source, url = filled
    command = [sys.executable, "-m", "daemon", "state", "copy", "--to", url]
    killed, said = 0, ""
    for milliseconds in range(400, 3000, 60):
        process = subprocess.Popen(
            [*command, "--config", str(house.write())],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(milliseconds / 1000)
        if process.poll() is not None:
            said = process.communicate()[1]
            assert process.returncode == 0 or "it has this state already" in said
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += 1
        with psycopg.connect(url) as connection:
            begun = connection.execute("SELECT to_regclass('sereno_state.instance')").fetchone()[0]
            begun = (
                begun
                and connection.execute(
                    "SELECT 1 FROM sereno_state.instance WHERE name = 'copied from'"
                ).fetchone()
            )
        if begun:
            with pytest.raises(StoreError, match="was interrupted; sereno state copy goes on"):
                _opened(url, house.folder, create=False)
    assert killed > 3
    if process.returncode < 0:
        done = house.sereno("state", "copy", "--to", url, check=False)
        assert done.returncode == 0 or "it has this state already" in done.stderr
    assert same(source, url, house.folder) == []


def test_copy_begins_again_when_the_file_has_changed_and_refuses_another_state(filled):
    house, source, url = filled
    target = _opened(url, house.folder, create=True, unfinished=True)

    def interrupted(table, _rows):
        if table == "alert":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_state(source, target, interrupted)
    with source.transaction() as transaction:
        transaction.execute("UPDATE run SET reason = 'changed' WHERE id = 7")
    copy_state(source, target, lambda *_: None)
    target.pool.close()
    assert same(source, url, house.folder) == []
    other = open_store(house.folder / "other.db")
    target = _opened(url, house.folder, create=True)
    with pytest.raises(StoreError, match="it has a state of its own; give an empty database"):
        copy_state(other, target, lambda *_: None)
    target.pool.close()


def test_copy_waits_for_no_service_and_says_what_is_wrong(filled):
    house, source, url = filled
    with source.owned():
        busy = house.sereno("state", "copy", "--to", url, check=False)
    assert (busy.returncode, "stop the service first" in busy.stderr) == (75, True)
    wrong = house.sereno("state", "copy", "--to", "x.db", check=False)
    assert (wrong.returncode, "is not like postgresql://HOST/NAME" in wrong.stderr) == (2, True)
    nobody = house.sereno("state", "copy", "--to", "postgresql://127.0.0.1:1/x", check=False)
    assert (nobody.returncode, "Connection refused" in nobody.stderr) == (2, True)
