"""Kept connections to the state file: reused, never across files, errors or threads."""

import shutil
import sqlite3
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from store import kept_connections, state_file
from store.kept_connections import KeptConnections
from store.opening import open_store
from store.state_check import StateCheck
from store.store import StoreError

SAVE = "INSERT INTO instance VALUES (?, ?)"


@pytest.fixture
def opened(monkeypatch):
    """Count the connections that are opened from now on."""
    opened = []
    connect = state_file._connect

    def counting(path, *, writes=True):
        opened.append(path)
        return connect(path, writes=writes)

    monkeypatch.setattr(state_file, "_KEPT", KeptConnections())
    monkeypatch.setattr(state_file, "_connect", counting)
    return opened


def values(store):
    with store.reading() as transaction:
        return {row["name"]: row["value"] for row in transaction.rows("SELECT * FROM instance")}


def test_transactions_one_after_the_other_share_a_connection(tmp_path, opened):
    store = open_store(tmp_path / "state.db")
    opened.clear()
    for number in range(5):
        with store.transaction() as transaction:
            transaction.execute(SAVE, (f"n{number}", "x"))
        assert values(store)[f"n{number}"] == "x"
    assert len(opened) == 2  # one writes, one reads


def test_file_put_in_its_place_is_the_one_that_is_read(tmp_path, opened):
    store, other = open_store(tmp_path / "state.db"), open_store(tmp_path / "other.db")
    mine = values(store)["id"]
    other.path.rename(store.path)
    assert values(store)["id"] != mine
    with store.transaction() as transaction:
        transaction.execute(SAVE, ("after", "x"))
    with sqlite3.connect(store.path) as plain:
        assert plain.execute("SELECT value FROM instance WHERE name = 'after'").fetchone()


def test_older_copy_written_over_the_file_is_the_one_that_is_read(tmp_path):
    store = open_store(tmp_path / "state.db")
    shutil.copy(store.path, tmp_path / "copy.db")
    with store.transaction() as transaction:
        transaction.execute(SAVE, ("after", "x"))
    assert "after" in values(store)
    shutil.copy(tmp_path / "copy.db", store.path)
    assert "after" not in values(store)


def test_removed_file_is_an_error_and_is_not_made_anew(tmp_path):
    store = open_store(tmp_path / "state.db")
    values(store)
    store.path.unlink()
    with pytest.raises(StoreError, match="unable to open"):
        values(store)
    with pytest.raises(StoreError, match="unable to open"), store.transaction():
        pass
    assert not store.path.exists()


def test_connection_of_a_failed_transaction_is_not_used_again(tmp_path, opened):
    store = open_store(tmp_path / "state.db")
    values(store)
    opened.clear()
    with pytest.raises(ZeroDivisionError), store.reading():
        raise ZeroDivisionError
    values(store)
    assert len(opened) == 1


def test_state_that_is_opened_anew_uses_no_connection_of_before(tmp_path, opened):
    store = open_store(tmp_path / "state.db")
    values(store)
    opened.clear()
    with store.reading() as transaction:
        transaction.rows("SELECT * FROM instance")
        store.reopen()
    values(store)
    assert len(opened) == 1


def test_check_of_the_state_opens_the_file_anew(tmp_path, opened):
    store = open_store(tmp_path / "state.db")
    check = StateCheck(store)
    check.verify(datetime.now(UTC))
    opened.clear()
    check.verify(datetime.now(UTC))
    assert opened == [store.path]


def test_temporary_tables_end_with_their_transaction(tmp_path):
    store = open_store(tmp_path / "state.db")
    for _ in range(2):
        with store.reading() as transaction:
            transaction.execute("CREATE TEMP TABLE chosen (name TEXT)")
            transaction.execute("INSERT INTO chosen VALUES ('x')")


def test_another_process_changes_what_the_next_transaction_reads(tmp_path):
    store = open_store(tmp_path / "state.db")
    values(store)
    with sqlite3.connect(store.path) as plain:
        plain.execute(SAVE, ("theirs", "x"))
        plain.execute("ALTER TABLE instance ADD COLUMN more TEXT")
    assert values(store)["theirs"] == "x"
    with store.reading() as transaction:
        assert "more" in transaction.rows("SELECT * FROM instance")[0]


def test_threads_never_share_a_connection(tmp_path):
    kept, path = KeptConnections(), tmp_path / "file.db"
    connect = partial(sqlite3.connect, path, check_same_thread=False)
    inside, seen = threading.Barrier(4), set()

    def use():
        with kept.lent(path, connect, writes=False) as connection:
            inside.wait()
            seen.add(id(connection))
            inside.wait()

    for _ in range(3):
        seen.clear()
        threads = [threading.Thread(target=use) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(seen) == 4


def test_few_connections_are_kept_however_many_files_there_are(tmp_path):
    for number in range(4 * kept_connections.MOST_KEPT):
        values(open_store(tmp_path / f"{number}.db"))
    open_files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    ours = [name for name in open_files if name.startswith(str(tmp_path))]
    assert len(ours) <= kept_connections.MOST_KEPT
