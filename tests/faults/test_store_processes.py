"""State file and lock file shared by several processes, some of them killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from store.file_lock import LockHeldError, exclusive_lock
from store.opening import open_store
from tests.fixtures.state import OPEN

ROOT = Path(__file__).parents[2]
PAUSE = "INSERT INTO pause (\"only\", since, reason) VALUES (1, 'x', 'y')"


def test_sigkill_inside_transaction_is_rolled_back(tmp_path):
    """The cache of two pages forces the open transaction to write to the file."""
    path = tmp_path / "state.db"
    store = open_store(path)
    with store.transaction() as transaction:
        transaction.execute(PAUSE)
    program = (
        "import os, signal, sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = TRUNCATE'); c.execute('PRAGMA cache_size = 2'); c.execute('BEGIN IMMEDIATE')\n"
        "for n in range(5000): c.execute('INSERT INTO instance VALUES (?, ?)', (f'n{n}', 'x' * 500))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert (tmp_path / "state.db-journal").stat().st_size > 0
    with open_store(path).reading() as transaction:
        assert transaction.row("SELECT count(*) AS n FROM instance")["n"] == 1
        assert len(transaction.rows("SELECT * FROM pause")) == 1


def test_concurrent_creation_yields_one_instance(tmp_path, any_state):
    program = OPEN + "print(store.instance())"
    for round_ in range(5):
        place = any_state.place(tmp_path / f"{round_}.db")
        command = [sys.executable, "-c", program, place]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
        ]
        instances = {process.communicate()[0] for process in processes}
        assert len(instances) == 1
        assert len(instances.pop()) == 33


def test_state_has_one_service_until_its_process_ends(tmp_path, any_state, wait):
    place = tmp_path / "state.db"
    program = OPEN + "import time\nwith store.owned(): print('mine', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, any_state.place(place)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with other:
        assert other.stdout.readline() == "mine\n"
        store = open_store(place)
        with pytest.raises(LockHeldError, match=f"process {other.pid}"), store.owned():
            pass
        other.send_signal(signal.SIGKILL)
    with store.owned(20.0):
        store.confirm_owned()


def test_sigkill_inside_a_transaction_of_a_database_is_rolled_back(tmp_path, state_databases):
    place = tmp_path / "state.db"
    store = state_databases.open(place)
    with store.transaction() as transaction:
        transaction.execute(PAUSE)
    program = OPEN + (
        "import os, signal\nwith store.transaction() as t:\n"
        "  for n in range(500): t.execute('INSERT INTO instance VALUES (?, ?)', (f'n{n}', 'x'))\n"
        "  os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, state_databases.url(place)]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL
    with store.transaction() as transaction:
        assert transaction.row("SELECT count(*) AS n FROM instance")["n"] == 1
        assert len(transaction.rows("SELECT * FROM pause")) == 1


def test_exclusive_lock_has_one_owner_and_is_released_on_kill(tmp_path):
    path = tmp_path / "lock"
    program = "import sys, time; from pathlib import Path; from store.file_lock import exclusive_lock\nwith exclusive_lock(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(LockHeldError, match=f"process {other.pid}"), exclusive_lock(path):
            pass
        other.send_signal(signal.SIGKILL)
    with exclusive_lock(path):
        pass
