"""Signals of a server are read once for the runs in its databases; those of a database apart."""

import threading
from contextlib import ExitStack, contextmanager

import psycopg

from daemon.outage_checks import read_findings
from daemon.runs import run_context
from daemon.runs.run_context import RunContext
from daemon.runs.sessions import Sessions
from execution import recent
from execution.progress import NoProgress
from execution.server_signals import read_sample, read_server
from execution.window import open_window
from postgres.fencing.advisory_locks import CHANGES, LOCK_CLASS
from postgres.session import MAINTAIN, Credentials, Target, open_session


@contextmanager
def session_in(database, **changes):
    target = Target(**{"name": "main", "conninfo": database.dsn, "logins": {}} | changes)
    with open_session(target, MAINTAIN, "x") as opened:
        yield opened


def test_runs_in_databases_of_a_server_share_its_signals(
    house, make_database, server, tmp_path, monkeypatch
):
    reads = []

    def counting(session):
        reads.append(session)
        return read_server(session)

    monkeypatch.setattr(run_context, "read_server", counting)
    monkeypatch.setattr(recent, "SHARED_SECONDS", 3600)
    assert house.install().returncode == 0
    context, login = house.context(), Credentials(house.maintain)
    runs = RunContext(context, Sessions(context, threading.Event()), NoProgress())
    with ExitStack() as stack:
        made = [stack.enter_context(make_database(server, f"shared_{n}")) for n in range(3)]
        for session in [stack.enter_context(session_in(one)) for one in made]:
            runs.terms(open_window(None), session).sample()
        with session_in(house.database, logins={MAINTAIN: login}) as other:
            runs.terms(open_window(None), other).sample()
        (tmp_path / "alias").symlink_to(server.socket)
        alias = house.database.dsn.replace(str(server.socket), str(tmp_path / "alias"))
        with session_in(house.database, conninfo=alias) as copied:
            runs.terms(open_window(None), copied).sample()
    assert [one.facts.user for one in reads] == ["postgres", house.maintain, "postgres"]


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


def test_lock_of_changes_of_a_stranger_or_elsewhere_pauses_nothing(database, server, make_database):
    database.run("DROP ROLE IF EXISTS stranger_of_signals")
    database.run("CREATE ROLE stranger_of_signals LOGIN")
    lock = f"SELECT pg_advisory_lock({LOCK_CLASS}, {CHANGES})"
    with (
        make_database(server, "changed_elsewhere") as elsewhere,
        psycopg.connect(elsewhere.dsn, autocommit=True) as migrating,
        psycopg.connect(database.dsn, user="stranger_of_signals", autocommit=True) as stranger,
        session_in(database) as session,
    ):
        migrating.execute(lock)
        assert read_sample(session, read_server(session)).migration == ""
        stranger.execute(lock)
        signals = read_server(session)
        assert session.facts.database_oid in signals.occupied
        assert read_sample(session, signals).migration == ""
    database.run("DROP ROLE stranger_of_signals")


def test_looks_without_a_state_share_nothing_with_runs(house, monkeypatch):
    monkeypatch.setattr(recent, "SHARED_SECONDS", 3600)
    house.extra = (
        '[schedules.looks]\ncron = "0 2 * * *"\nwindow = "1h"\njobs = ["integrity_check"]\n'
    )
    assert house.install().returncode == 0
    context = house.context()
    list(read_findings(context))
    assert not context.recent._slots
