"""Checks of a whole server, each on a server of its own that has the illness."""

import contextlib
import signal
import subprocess

import psycopg
import pytest

ARCHIVING = {"archive_mode": "on", "archive_command": "false"}


@pytest.fixture
def ill(clusters, make_database, make_house, tmp_path):
    """Return a house on a server that may be made ill; nobody else uses it."""
    cluster = clusters("embedded", **ARCHIVING)
    with make_database(cluster) as database:
        made = make_house(tmp_path, database)
        made.with_logins = False
        made.cluster = cluster
        yield made
        made.close()


def found(house, check):
    return {
        one["object"]: (one["severity"], one["remedy"])
        for one in house.run("integrity_check")["findings"]
        if one["kind"] == check
    }


def test_failing_archive_command_is_found(ill, wait):
    ill.extra = "[checks.archiving_fails]\nhigh = 0\ncritical = 100000\n"
    ill.database.run("SELECT pg_switch_wal()")
    wait(lambda: ill.database.value("SELECT failed_count FROM pg_stat_archiver"), what="a failure")
    (severity, remedy) = found(ill, "archiving_fails")["archive_command"]
    assert severity == "high"
    assert "run archive_command by hand" in remedy


def test_slot_that_retains_wal_is_found_until_it_is_dropped(ill):
    ill.extra = "[checks.slot_retains_wal]\nbytes = 1\n"
    run = ill.database.run
    run("SELECT pg_create_physical_replication_slot('left_behind', true)")
    run("CREATE TABLE public.t AS SELECT generate_series(1, 1000)")
    (severity, remedy) = found(ill, "slot_retains_wal")["left_behind"]
    assert severity == "warning"
    run(remedy.partition("or: ")[2])
    assert found(ill, "slot_retains_wal") == {}


def test_session_that_is_idle_in_a_transaction_is_found_and_ended(ill):
    ill.extra = "[checks.idle_in_transaction]\nwarning = 0\nhigh = 100\n"
    with contextlib.suppress(psycopg.OperationalError), ill.database.connect() as idle:
        idle.execute("SELECT 1")
        pid = f"pid {idle.info.backend_pid}"
        (severity, remedy) = found(ill, "idle_in_transaction")[pid]
        assert severity == "warning"
        ill.database.run(remedy.partition("not needed: ")[2])
        assert pid not in found(ill, "idle_in_transaction")


def test_long_transaction_is_ended_by_its_remedy(ill):
    ill.extra = "[checks.long_transaction]\nwarning = 0\nhigh = 100\n"
    with contextlib.suppress(psycopg.OperationalError), ill.database.connect() as idle:
        idle.execute("SELECT 1")
        pid = f"pid {idle.info.backend_pid}"
        ill.database.run(found(ill, "long_transaction")[pid][1].partition("not needed: ")[2])
        assert pid not in found(ill, "long_transaction")


def test_connections_near_the_limit_are_found(ill):
    ill.extra = "[checks.connections_near_limit]\nwarning = 0.001\nhigh = 0.9\n"
    assert found(ill, "connections_near_limit")["max_connections"][0] == "warning"
    ill.extra = ""
    assert found(ill, "connections_near_limit") == {}


def test_connections_near_the_limit_of_a_role_or_database_are_found(ill):
    run, name = ill.database.run, ill.database.name
    run('CREATE ROLE "App" LOGIN CONNECTION LIMIT 10; CREATE ROLE once LOGIN CONNECTION LIMIT 1')
    try:
        with contextlib.ExitStack() as stack:
            for user in [*["App"] * 8, "once"]:
                stack.enter_context(ill.database.connect(user))
            ended = found(ill, "connections_near_limit")
            assert {key: one[0] for key, one in ended.items()} == {'role "App"': "warning"}
            assert 'ALTER ROLE "App" CONNECTION LIMIT' in ended['role "App"'][1]
            run(f"ALTER DATABASE {name} CONNECTION LIMIT 11")
            limited = found(ill, "connections_near_limit")
            assert limited[f"database {name}"][0] == "critical"
    finally:
        run(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        run('DROP ROLE "App", once')


def test_setting_that_waits_for_a_restart_is_found(ill):
    run = ill.database.run
    run("ALTER SYSTEM SET track_activity_query_size = 2048")
    run("SELECT pg_reload_conf(), pg_sleep(1)")
    try:
        assert found(ill, "pending_restart") == {"track_activity_query_size": ("warning", "restart the server at a suitable time, or undo the change")}  # fmt: skip
        assert found(ill, "config_broken") == {}
    finally:
        run("ALTER SYSTEM RESET track_activity_query_size")
        run("SELECT pg_reload_conf(), pg_sleep(1)")


def test_broken_and_open_lines_of_pg_hba_are_found(ill):
    path = ill.cluster.data / "pg_hba.conf"
    before = path.read_text()
    path.write_text(before + "host all all 10.0.0.0/8 trust\nhost all all nowhere md55\n")
    try:
        last = len(path.read_text().splitlines())
        assert found(ill, "hba_broken")[f"line {last}"][0] == "high"
        assert found(ill, "hba_trust")[f"line {last - 1}"][0] == "high"
    finally:
        path.write_text(before)
    assert found(ill, "hba_broken") == found(ill, "hba_trust") == {}


def test_broken_entry_of_a_configuration_file_is_found(ill):
    path = ill.cluster.data / "postgresql.auto.conf"
    before = path.read_text()
    path.write_text(before + "work_mem = 'much'\n")
    try:
        assert found(ill, "config_broken")["work_mem"][0] == "high"
    finally:
        path.write_text(before)
    assert found(ill, "config_broken") == {}


def test_risky_settings_are_found_when_the_check_is_named(ill):
    done = ill.sereno("check", "risky_setting", check=False)
    assert done.returncode == 1
    assert "fsync is off: a crash of the operating system can destroy the cluster" in done.stdout.replace("\n  ", " ")  # fmt: skip
    assert "ALTER SYSTEM RESET fsync;" in done.stdout


def test_server_that_listens_without_tls_is_found(clusters, make_database, make_house, tmp_path):
    cluster = clusters("embedded", listen_addresses="*")
    with make_database(cluster) as database:
        house = make_house(tmp_path, database)
        house.with_logins = False
        assert found(house, "tls_off")["*"][0] == "warning"


def test_collation_of_another_version_names_each_index(ill):
    run = ill.database.run
    versioned = ill.database.rows("SELECT FROM pg_collation WHERE collname = 'de-x-icu'")
    if not versioned:
        pytest.skip("this server is built without ICU")
    run("CREATE COLLATION public.\"Deutsch\" (provider = icu, locale = 'de')")
    run('CREATE TABLE public.t (a text COLLATE public."Deutsch", b text COLLATE public."Deutsch")')
    run("CREATE UNIQUE INDEX one ON public.t (a); CREATE INDEX two ON public.t (b)")
    assert found(ill, "collation_changed") == {}
    run("UPDATE pg_collation SET collversion = '1' WHERE collname = 'Deutsch'")
    ended = found(ill, "collation_changed")
    assert {name: severity for name, (severity, _) in ended.items()} == {
        "public.one": "critical",
        "public.two": "high",
    }
    reindex, _, refresh = ended["public.one"][1].partition("; after all of them: ")
    run(reindex)
    run(refresh)
    assert found(ill, "collation_changed") == {}


def test_database_whose_collation_changed_names_each_index(ill):
    run = ill.database.run
    run('CREATE TABLE public.t (a text, b text COLLATE "C"); CREATE INDEX one ON public.t (a)')
    run("CREATE INDEX two ON public.t (b)")
    run("UPDATE pg_database SET datcollversion = '1' WHERE datname = current_database()")
    if ill.database.value("SELECT pg_database_collation_actual_version(oid) IS NULL FROM pg_database WHERE datname = current_database()"):  # fmt: skip
        assert found(ill, "collation_changed") == {}  # the C locale has no version
        return
    assert found(ill, "collation_changed").keys() == {"public.one"}


def test_role_with_more_rights_is_information(ill):
    run = ill.database.run
    run('CREATE ROLE "Big boss" LOGIN SUPERUSER; CREATE ROLE reader LOGIN BYPASSRLS')
    run("GRANT pg_execute_server_program TO reader")
    try:
        ended = found(ill, "privileged_roles")
        assert {name: one[0] for name, one in ended.items()} == {
            '"Big boss"': "info",
            "reader": "info",
        }
        for _, remedy in ended.values():
            run(remedy.partition(": ")[2])
        assert found(ill, "privileged_roles") == {}
    finally:
        run('DROP ROLE "Big boss"; DROP ROLE reader')


def test_receiver_that_stands_still_lags(ill, wait, tmp_path):
    """pg_receivewal is stopped: it confirms nothing any more."""
    folder = tmp_path / "wal"
    folder.mkdir()
    command = [
        ill.cluster.program("pg_receivewal"),
        "-D",
        str(folder),
        "-h",
        str(ill.cluster.socket),
    ]
    command += ["-p", str(ill.cluster.port), "-U", "postgres", "--no-loop"]
    receiver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait(lambda: ill.database.value(streaming) == 1, what="the receiver")
        receiver.send_signal(signal.SIGSTOP)
        # the lag pauses what reads tables, and not this look
        ill.extra = '[checks.replication_lag]\nwarning = 1000000\n[governor]\nreplica_lag_size = "1MB"\npatience = "1s"\n'
        ill.database.run("CREATE TABLE public.t AS SELECT generate_series(1, 100000)")
        assert found(ill, "replication_lag")["pg_receivewal"][0] == "warning"
    finally:
        receiver.kill()
        receiver.wait()
    wait(lambda: found(ill, "replication_lag") == {}, what="the end of the receiver")


def test_slow_autovacuum_is_information(ill):
    run = ill.database.run
    run("ALTER SYSTEM SET autovacuum_naptime = '5min'")
    run("SELECT pg_reload_conf(), pg_sleep(1)")
    try:
        (severity, remedy) = found(ill, "autovacuum_settings")["autovacuum_naptime"]
        assert severity == "info"
        for statement in remedy.rstrip(";").split(";"):
            run(statement)
        run("SELECT pg_sleep(1)")
        assert found(ill, "autovacuum_settings") == {}
    finally:
        run("ALTER SYSTEM RESET autovacuum_naptime")
        run("SELECT pg_reload_conf(), pg_sleep(1)")
