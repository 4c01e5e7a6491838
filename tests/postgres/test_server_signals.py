"""Signals of a server are read once for the runs in its databases; those of a database apart."""

import threading
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from execution import server_signals
from execution.server_signals import SharedSignals, read_sample, read_server
from postgres.session import MAINTAIN, Credentials, Target, open_session


@contextmanager
def session_in(database, **changes):
    target = Target(**{"name": "main", "conninfo": database.dsn, "logins": {}} | changes)
    with open_session(target, MAINTAIN, "x") as opened:
        yield opened


@pytest.fixture
def reads(monkeypatch):
    """Return the sessions in which the signals of a server are read."""
    reads = []

    def counting(session):
        reads.append(session)
        return read_server(session)

    monkeypatch.setattr(server_signals, "read_server", counting)
    return reads


def test_runs_in_databases_of_a_server_share_its_signals(server, make_database, reads, monkeypatch):
    monkeypatch.setattr(server_signals, "SHARED_SECONDS", 3600)
    shared, seen = SharedSignals(), []
    with ExitStack() as stack:
        made = [stack.enter_context(make_database(server, f"shared_{n}")) for n in range(4)]
        sessions = [stack.enter_context(session_in(one)) for one in made]
        threads = [
            threading.Thread(target=lambda one=one: seen.append(shared.read(one)))
            for one in sessions
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert len(reads) == 1
    assert len(seen) == 4
    assert all(one is seen[0] for one in seen)


def test_signals_are_read_again_after_a_while(database, reads, monkeypatch):
    monkeypatch.setattr(server_signals, "SHARED_SECONDS", 0)
    shared = SharedSignals()
    with session_in(database) as session:
        shared.read(session)
        shared.read(session)
    assert len(reads) == 2


def test_login_with_other_rights_reads_for_itself(database, reads, monkeypatch):
    monkeypatch.setattr(server_signals, "SHARED_SECONDS", 3600)
    database.run("DROP ROLE IF EXISTS signals_reader")
    database.run("CREATE ROLE signals_reader LOGIN")
    database.run("GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO signals_reader")
    shared = SharedSignals()
    try:
        with (
            session_in(database) as first,
            session_in(database, logins={MAINTAIN: Credentials("signals_reader")}) as second,
        ):
            assert shared.read(first) is not shared.read(second)
    finally:
        database.run("DROP OWNED BY signals_reader; DROP ROLE signals_reader")
    assert len(reads) == 2


def test_read_that_fails_is_tried_by_the_next_run(database, reads):
    shared = SharedSignals()
    with session_in(database) as lost, session_in(database) as other:
        database.run("SELECT pg_terminate_backend(%s, 5000)", lost.facts.pid)
        with pytest.raises(psycopg.OperationalError):
            shared.read(lost)
        assert shared.read(other).active >= 0
    assert len(reads) == 2


def test_dump_pauses_work_in_its_own_database_only(any_server, make_database):
    with (
        make_database(any_server, 'dumped "Ü"') as dumped,
        make_database(any_server, "not_dumped") as quiet,
        psycopg.connect(dumped.dsn, application_name="pg_dump") as dump,
        session_in(dumped) as here,
        session_in(quiet) as elsewhere,
    ):
        shared = read_server(elsewhere)
        assert read_sample(here, shared).backup == f"pg_dump, pid {dump.info.backend_pid}"
        assert read_sample(elsewhere, shared).backup == ""
