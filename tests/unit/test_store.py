"""State file: transactions, permissions, migration; rejected files stay unchanged."""

import contextlib
import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.opening import open_store
from store.store import StoreError

ROOT = Path(__file__).parents[2]
PAUSE = "INSERT INTO pause (\"only\", since, reason) VALUES (1, 'x', 'y')"


def test_state_file_is_private_and_has_instance_id(tmp_path):
    store = open_store(tmp_path / "state.db")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert len(store.instance()) == 32
    assert open_store(store.path).instance() == store.instance()


@pytest.mark.usefixtures("any_state")
def test_transaction_is_rolled_back_on_error(tmp_path):
    store = open_store(tmp_path / "state.db")
    with contextlib.suppress(ZeroDivisionError), store.transaction() as transaction:
        transaction.execute(PAUSE)
        raise ZeroDivisionError
    with store.reading() as transaction:
        assert transaction.rows("SELECT * FROM pause") == []


def test_threads_write_in_turns_however_long_one_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("store.state_file.BUSY_SECONDS", 0.1)
    store = open_store(tmp_path / "state.db")
    began, errors = threading.Barrier(9), []

    def write(number):
        began.wait()
        try:
            with store.transaction() as transaction:
                transaction.execute("INSERT INTO instance VALUES (?, 'x')", (f"n{number}",))
                time.sleep(0.05)
        except StoreError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(9)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    with store.reading() as transaction:
        assert len(transaction.rows("SELECT 1 AS x FROM instance WHERE value = 'x'")) == 9


def test_thread_that_gets_no_turn_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("store.state_file.TURN_SECONDS", 0.05)
    store = open_store(tmp_path / "state.db")
    with (
        store.transaction(),
        pytest.raises(StoreError, match="other threads have written"),
        store.transaction(),
    ):
        pass


@pytest.mark.usefixtures("any_state")
def test_wakeup_between_read_and_wait_is_not_missed(tmp_path):
    store = open_store(tmp_path / "state.db")
    count_before = store.wakeup.times
    with store.transaction() as transaction:
        transaction.ring()
    began = time.monotonic()
    store.wakeup.wait(count_before, 60.0)
    assert time.monotonic() - began < 30
    with contextlib.suppress(ZeroDivisionError), store.transaction() as transaction:
        transaction.ring()
        raise ZeroDivisionError
    assert store.wakeup.times == count_before + 1  # a rollback wakes nobody


@pytest.mark.usefixtures("any_state")
def test_event_cannot_be_updated(tmp_path):
    store = open_store(tmp_path / "state.db")
    with store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO alert (id, fingerprint, kind, cluster, database, object, task, state, severity, summary,"
            " opened_at, last_seen_at) VALUES (1, 'f', 'k', '', '', '', '', 'firing', 'high', 's', 'x', 'x')"
        )
        transaction.execute(
            "INSERT INTO event (alert, reason, severity, summary, occurred_at) VALUES (1, 'opened', 'high', 's', 'x')"
        )
    with (
        pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="never changed"),
        store.transaction() as transaction,
    ):
        transaction.execute("UPDATE event SET summary = 'other'")


def open_error(tmp_path, content):
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        open_store(path)
    assert path.read_bytes() == content
    return str(caught.value)


def test_non_database_file_is_rejected_unchanged(tmp_path):
    assert "not a database" in open_error(tmp_path, b"no database at all, whatever its name" * 100)


def test_newer_schema_is_rejected_unchanged(tmp_path):
    path = tmp_path / "newer.db"
    open_store(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer sereno" in open_error(tmp_path, path.read_bytes())


def test_older_schema_is_backed_up_and_migrated(tmp_path):
    path = tmp_path / "state.db"
    first = (Path(__file__).parents[2] / "store/schema/sqlite/0001_initial.sql").read_text()
    with sqlite3.connect(path) as connection:
        connection.executescript(first)
        connection.execute("INSERT INTO instance VALUES ('id', 'old')")
        connection.execute(
            "INSERT INTO notification (id, channel, reason, severity, message, created_at, not_before, state)"
            " VALUES ('n', 'c', 'opened', 'high', '{}', '', '', 'pending')"
        )
    connection.close()
    store = open_store(path)
    assert store.instance() == "old"
    with store.reading() as transaction:
        assert transaction.row("SELECT recipients, receipt FROM notification") == {
            "recipients": "[]",
            "receipt": "",
        }
        assert transaction.rows("SELECT * FROM measure") == []
    with sqlite3.connect(tmp_path / "state.db.schema1") as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
    copy.close()


def test_invalid_schema_version_is_rejected_unchanged(tmp_path):
    path = tmp_path / "older.db"
    open_store(path)
    content = bytearray(path.read_bytes())
    content[60] ^= 128  # the sign of user_version
    assert "damaged" in open_error(tmp_path, bytes(content))


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_foreign_database_is_rejected_unchanged(tmp_path, journal):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert "not a state file of sereno" in open_error(tmp_path, path.read_bytes())


@settings(max_examples=60)
@given(st.data())
def test_damaged_state_file_is_reported_or_still_consistent(tmp_path_factory, data):
    """Random bytes are inverted: the file is refused, or only unused bytes were damaged."""
    folder = tmp_path_factory.mktemp("flip")
    path = folder / "state.db"
    open_store(path)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        store = open_store(path)
        with store.reading() as transaction:
            transaction.rows("SELECT * FROM run")
    except StoreError as error:
        assert str(path) in str(error)  # noqa: PT017 - both outcomes are valid, any other exception is not


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_unwritable_folder_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path / "state.db")


def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path / "no" / "state.db")


def test_migration_preserves_alerts(tmp_path):
    """The alert table is rebuilt: rows, references to them and used ids are kept."""
    path = tmp_path / "state.db"
    folder = Path(__file__).parents[2] / "store/schema/sqlite"
    with sqlite3.connect(path) as connection:
        for name in ("0001_initial.sql", "0002_measures.sql"):
            connection.executescript((folder / name).read_text())
        at = "2026-03-01T02:00:00.000000Z"
        alert = "INSERT INTO alert (fingerprint, kind, cluster, database, object, task, state, severity, summary, opened_at, last_seen_at, resolved_at) VALUES (?, 'orphans', '', 'main', 'x', '', ?, 'high', '7 rows', ?, ?, ?)"  # fmt: skip
        connection.executemany(alert, [("a", "firing", at, at, None), ("b", "resolved", at, at, at), ("c", "resolved", at, at, at)])  # fmt: skip
        connection.execute("DELETE FROM alert WHERE id = 3")
        connection.execute("INSERT INTO event (alert, reason, severity, summary, occurred_at) VALUES (1, 'opened', 'high', '7 rows', ?)", (at,))  # fmt: skip
        sent = "INSERT INTO notification (id, alert, channel, reason, severity, message, created_at, not_before, state, remote, sent_at) VALUES (?, 1, 'slack', 'opened', 'critical', '{}', ?, ?, 'sent', '1.7', ?)"  # fmt: skip
        connection.execute(sent, ("n", at, at, at))
        connection.execute("INSERT INTO instance VALUES ('id', 'old')")
    connection.close()
    store = open_store(path)
    from alerts import alert_store

    with store.transaction() as transaction:
        (opened,) = alert_store.load_open(transaction)
        assert (opened.id, opened.generation, opened.fired_at) == (1, 1, opened.opened_at)
        assert alert_store.load_recipients(transaction, opened).notified == {1: ("slack",)}
        assert transaction.row("SELECT urgency, generation FROM notification") == {
            "urgency": 0,
            "generation": 1,
        }
        assert transaction.rows("SELECT alert, channel, remote FROM conversation") == [{"alert": 1, "channel": "slack", "remote": "1.7"}]  # fmt: skip
        assert transaction.rows("PRAGMA foreign_key_check") == []
        new = "INSERT INTO alert (fingerprint, kind, cluster, database, object, task, state, severity, summary, opened_at, last_seen_at) SELECT 'd', kind, cluster, database, object, task, state, severity, summary, opened_at, last_seen_at FROM alert WHERE id = 1"  # fmt: skip
        assert transaction.insert(new) == 4
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as transaction:
        transaction.execute("INSERT INTO event (alert, reason, severity, summary, occurred_at) VALUES (99, 'x', 'high', '', '')")  # fmt: skip


def test_migration_renames_kinds_and_reasons(tmp_path):
    path = tmp_path / "state.db"
    folder = Path(__file__).parents[2] / "store/schema/sqlite"
    at = "2026-03-01T02:00:00.000000Z"
    with sqlite3.connect(path) as connection:
        for file in sorted(folder.glob("000[1-4]*.sql")):
            connection.executescript(file.read_text())
        connection.execute(
            "INSERT INTO alert (fingerprint, kind, cluster, database, object, task, state, severity, summary, opened_at, last_seen_at) VALUES ('f', 'task_orphaned', '', 'main', '', 'vacuum', 'firing', 'high', 'x', ?, ?)",
            (at, at),
        )
        connection.execute(
            "INSERT INTO notification (id, channel, reason, severity, message, created_at, not_before, state) VALUES ('n', 'slack', 'drill', 'info', ?, ?, ?, 'pending')",
            ('{"reason": "drill"}', at, at),
        )
        connection.execute(
            "INSERT INTO silence (matcher, author, reason, starts_at, ends_at) VALUES (?, 'ana', 'x', ?, ?)",
            ('{"check": "task_orphaned"}', at, at),
        )
    connection.close()
    with open_store(path).reading() as transaction:
        assert transaction.row("SELECT kind, state FROM alert") == {
            "kind": "task_interrupted", "state": "resolved",
        }  # fmt: skip
        assert transaction.row("SELECT reason, message FROM notification") == {
            "reason": "channel_test", "message": '{"reason":"channel_test"}',
        }  # fmt: skip
        assert (
            transaction.row("SELECT matcher FROM silence")["matcher"]
            == '{"check":"task_interrupted"}'
        )
