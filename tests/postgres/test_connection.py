"""Database sessions: settings, errors, and refused servers."""

import os
import shutil
import signal
import subprocess
import textwrap
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from daemon.demo.cluster import Cluster, free_port
from daemon.runs.sessions import Sessions
from daemon.runs.workers import Workers
from domain.task import Scope, Task
from postgres.session import (
    MAINTAIN,
    Credentials,
    Target,
    TargetError,
    UnreachableError,
    open_session,
)
from tests.fixtures.servers import Database


def target(database, **changes):
    values = {
        "name": "main",
        "conninfo": database.dsn,
        "logins": {},
        "timezone": "America/La_Paz",
    } | changes
    return Target(**values)


def test_session_settings_on_each_server(any_database):
    with open_session(target(any_database), MAINTAIN, "analyze") as opened:
        settings = {
            row["name"]: row["setting"]
            for row in opened.rows(b"SELECT name, setting FROM pg_settings")
        }
        assert settings["application_name"] == "sereno/analyze"
        assert settings["search_path"].replace(" ", "") == "pg_catalog,pg_temp"
        assert 0 < int(settings["lock_timeout"]) < int(settings["deadlock_timeout"])
        assert int(settings["statement_timeout"]) > 0
        assert int(settings["idle_in_transaction_session_timeout"]) > 0
        assert int(settings["client_connection_check_interval"]) > 0
        assert (settings["row_security"], settings["TimeZone"]) == ("off", "America/La_Paz")
        assert settings["jit"] == "off"
        assert opened.facts.system_identifier.isdigit()


def test_closed_session_has_ended_in_the_server(any_database):
    for _ in range(30):
        with open_session(target(any_database), MAINTAIN, "x") as opened:
            pid = opened.facts.pid
        assert not any_database.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid)


def test_process_of_the_server_that_does_not_end_is_not_waited_for(database):
    with open_session(target(database), MAINTAIN, "x") as opened:
        pid, began = opened.facts.pid, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
    try:
        assert time.monotonic() - began < 5
        assert database.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_session_of_a_run_in_another_server_than_its_lock_is_refused(house, server, make_database):
    """As after a failover between the two, with several hosts in the connection string."""
    assert house.install().returncode == 0
    context = house.context()
    sessions = Sessions(context, threading.Event())
    task = Task("integrity_check", Scope.DATABASE, "main")
    with (
        make_database(server, "other_server") as other,
        open_session(target(other), MAINTAIN, "x") as lock,
        ExitStack() as stack,
        pytest.raises(UnreachableError, match="another server answers"),
    ):
        Workers(sessions, context, task, lock, stack).session(MAINTAIN)


def test_statement_timeout_is_never_zero(database):
    with open_session(target(database), MAINTAIN, "x") as opened:
        for seconds in (0.0, -5.0, 0.0001):
            opened.set_timeouts(seconds)
            assert opened.rows(b"SELECT current_setting('statement_timeout') AS t")[0]["t"] == "1ms"


def test_read_only_session_rejects_writes(database):
    database.run("CREATE TABLE public.t (a int)")
    with open_session(target(database), MAINTAIN, "x", read_only=True) as opened:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            opened.execute(b"DELETE FROM public.t")
        with pytest.raises(errors.SyntaxError):
            opened.rows(b"SELECT 1; COMMIT; DELETE FROM public.t")


def test_database_name_with_special_characters(server, make_database):
    with (
        make_database(server, "a b's \"Ü\\x") as database,
        open_session(target(database), MAINTAIN, "x") as opened,
    ):
        assert opened.facts.database == "a b's \"Ü\\x"


def test_unreachable_server_error_contains_no_password():
    unreachable = Target("main", f"host=127.0.0.1 port={free_port()} password=hunter2")
    with (
        pytest.raises(UnreachableError, match="main: ") as caught,
        open_session(unreachable, MAINTAIN, "x"),
    ):
        pass
    assert "hunter2" not in str(caught.value) + repr(unreachable)


def test_rejected_login_error_contains_no_password(database):
    rejected = target(database, logins={MAINTAIN: Credentials("no_such_role", "hunter2")})
    with (
        pytest.raises(UnreachableError, match="no_such_role") as caught,
        open_session(rejected, MAINTAIN, "x"),
    ):
        pass
    assert "hunter2" not in str(caught.value) + repr(rejected)


@pytest.fixture(scope="session")
def standby(clusters, scratch):
    """Return a primary and a standby that replays with a delay of four seconds."""
    primary = clusters("embedded", wal_level="replica", max_wal_senders="4", hot_standby="on")
    folder = scratch / "standby"
    folder.mkdir(mode=0o755)
    replica = Cluster(
        folder, Path(primary.program("")), {"recovery_min_apply_delay": "4s", "hot_standby": "on"}
    )
    replica.socket.mkdir()
    replica._give(replica.socket)
    replica.data.mkdir()
    replica._give(replica.data)
    replica.data.chmod(0o700)
    replica._call("pg_basebackup", "-D", str(replica.data), "-d", primary.dsn() + " application_name=standby1", "-R", "-X", "stream", "-c", "fast")  # fmt: skip
    replica.start()
    yield primary, replica
    replica.stop("immediate")


def test_standby_is_refused(standby):
    _, replica = standby
    with (
        pytest.raises(TargetError, match="standby"),
        open_session(Target("main", replica.dsn()), MAINTAIN, "x"),
    ):
        pass


def test_replica_lag_pauses_log_cleanup(standby, make_database, make_house, tmp_path):
    primary, _ = standby
    with make_database(primary) as database:
        house = make_house(tmp_path, database)
        database.run("CREATE TABLE public.log (id bigint PRIMARY KEY, at timestamptz)")
        database.run(
            "INSERT INTO public.log SELECT n, now() - interval '9 days' FROM generate_series(1, 4000) n"
        )
        house.extra = """
            [governor]
            replica_lag = "1s"
            replica_lag_size = "20 kB"
            batch_rows = 500
            [[jobs.log_cleanup.tables]]
            table = "public.log"
            column = "at"
            keep = "1 day"
            """
        house.install()
        run = house.run("log_cleanup")
    assert run["state"] == "finished"
    (step,) = run["steps"]
    assert step["rows"] == 4000
    assert step["paused_by"] == "replica lag"
    assert run["paused_seconds"] == step["paused_seconds"] >= 1


def test_changed_system_identifier_is_refused_until_trusted(house, clusters, make_database):
    house.with_logins = False
    assert house.run("integrity_check")["state"] == "finished"
    with make_database(
        clusters("embedded", wal_level="replica", max_wal_senders="4", hot_standby="on")
    ) as other:
        house.database = other
        run = house.run("integrity_check")
        assert run["state"] == "failed"
        assert "another cluster" in run["reason"]
        assert [finding["kind"] for finding in run["findings"]] == ["task_failed"]
        house.with_logins = True
        house.install()
        house.sereno("trust", "main", "--yes")
        assert house.run("integrity_check")["state"] == "finished"


@pytest.mark.skipif(
    shutil.which("pgbouncer") is None,
    reason="pgbouncer is not installed (Debian package pgbouncer)",
)
def test_pooler_is_refused(database, tmp_path, wait):
    port = free_port()
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)
    (tmp_path / "pgbouncer.ini").write_text(
        textwrap.dedent(f"""
        [databases]
        coop = host={database.cluster.socket} port={database.cluster.port} dbname={database.name} user=postgres
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        ignore_startup_parameters = options
        user = nobody
        """)
    )
    with subprocess.Popen(
        ["pgbouncer", "-q", tmp_path / "pgbouncer.ini"], stderr=subprocess.PIPE, text=True
    ) as pooler:
        try:
            dsn = f"host=127.0.0.1 port={port} dbname=coop user=postgres"

            def accepts_connections():
                try:
                    psycopg.connect(dsn, connect_timeout=2).close()
                except psycopg.OperationalError:
                    return False
                return True

            wait(accepts_connections, what="pgbouncer")
            with (
                pytest.raises(TargetError, match="pooler"),
                open_session(Target("main", dsn), MAINTAIN, "x"),
            ):
                pass
        finally:
            pooler.terminate()


@pytest.mark.parametrize("read_only", [True, False])
def test_list_of_hosts_for_the_primary_is_accepted(database, read_only):
    """As guides to failover write it; a read-only session counts as connected to a primary."""
    cluster = database.cluster
    hosts = f"host=127.0.0.1,{cluster.socket} port={free_port()},{cluster.port}"
    dsn = f"{hosts} dbname={database.name} user=postgres target_session_attrs=read-write"
    with open_session(Target("main", dsn), MAINTAIN, "x", read_only=read_only) as opened:
        (row,) = opened.rows(sql.SQL("SELECT current_setting('transaction_read_only') AS value"))
    assert row["value"] == ("on" if read_only else "off")


@pytest.fixture
def promoted(clusters, scratch):
    """Return a primary that still answers, and its standby, which can be promoted."""
    primary = clusters("embedded", wal_level="replica", max_wal_senders="3", hot_standby="on")
    folder = scratch / "promoted"
    folder.mkdir(mode=0o755)
    replica = Cluster(folder, Path(primary.program("")), {"hot_standby": "on"})
    for made in (replica.socket, replica.data):
        made.mkdir()
        replica._give(made)
    replica.data.chmod(0o700)
    yield primary, replica
    replica.stop("immediate")


def test_former_primary_that_answers_again_is_refused_until_trusted(
    promoted, make_database, make_house, tmp_path
):
    primary, replica = promoted
    with make_database(primary) as database:
        house = make_house(tmp_path, database)
        house.with_logins = False
        assert house.run("integrity_check")["state"] == "finished"
        replica._call("pg_basebackup", "-D", str(replica.data), "-d", primary.dsn(), "-R", "-X", "stream", "-c", "fast")  # fmt: skip
        replica.start()
        replica._call("pg_ctl", "-D", str(replica.data), "-w", "promote")
        house.database = Database(replica, database.name)
        assert house.run("integrity_check")["state"] == "finished"
        house.database.admin.close()

        house.database = database
        run = house.run("integrity_check")
        assert run["state"] == "failed"
        assert "the server is on timeline 1, but timeline 2 was seen before" in run["reason"]
        house.with_logins = True
        house.install()
        house.sereno("trust", "main", "--yes")
        assert house.run("integrity_check")["state"] == "finished"


def test_function_that_is_revoked_is_named_with_its_grant(any_house):
    any_house.install()
    run = any_house.database.run
    run("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
    done = any_house.sereno("now", "analyze", check=False)
    text = done.stdout.replace("\n", " ")
    assert "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system()" in text, text
    run(f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {any_house.maintain}")
    assert any_house.sereno("now", "analyze").returncode == 0
