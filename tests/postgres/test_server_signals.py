"""Signals of a server are read once for the runs in its databases; those of a database apart."""

import threading
from contextlib import ExitStack, contextmanager

import psycopg

from daemon.runs import run_context
from daemon.runs.run_context import RunContext
from daemon.runs.sessions import Sessions
from execution import recent
from execution.progress import NoProgress
from execution.server_signals import read_sample, read_server
from execution.window import open_window
from postgres.session import MAINTAIN, Credentials, Target, open_session


@contextmanager
def session_in(database, **changes):
    target = Target(**{"name": "main", "conninfo": database.dsn, "logins": {}} | changes)
    with open_session(target, MAINTAIN, "x") as opened:
        yield opened


def test_runs_in_databases_of_a_server_share_its_signals(house, make_database, server, monkeypatch):
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
    assert [one.facts.user for one in reads] == ["postgres", house.maintain]


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
