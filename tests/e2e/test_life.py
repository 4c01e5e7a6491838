"""The life of the process, as systemd sees it: ready, alive, reloading, stopping; and what it says when it cannot live."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from alerts.channels.channel import DeliveryError, Failure
from alerts.rate_limit import RateLimit
from daemon.demo.cluster import Cluster, embedded_binaries
from daemon.liveness import Watchdog

LA_PAZ = timedelta(hours=-4)
SLOW = """
    CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 1000);
    CREATE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE INDEX slow ON public.t (public.slow(a));
    CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
      $$ BEGIN PERFORM pg_sleep(0.05); RETURN a; END $$
"""
ANALYZING = "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"


def due_now(house, jobs, more=""):
    """Plan a list for the minute that has just begun, as if it had been planned for long: it is caught up at once."""
    house.with_logins = False
    local = datetime.now(UTC) + LA_PAZ
    line = f"{local.minute} {local.hour} * * *"
    path = house.write()
    text = path.read_text().replace('cron = "0 2 * * *"', f'cron = "{line}"\n{more}')
    path.write_text(
        text.replace(
            '["log_cleanup", "analyze", "disk_check", "integrity_check"]', json.dumps(jobs)
        )
    )
    house.write = lambda: path
    long_planned(house)


def long_planned(house):
    from daemon.history.history import remember_planned
    from daemon.scheduling.tasks import tasks_of
    from domain.task import Trigger

    context = house.context()
    with context.store.transaction() as transaction:
        for name, schedule in context.config.timetable.items():
            for task in tasks_of(context, schedule.jobs, Trigger(name)):
                remember_planned(
                    transaction, task, str(schedule.cron), datetime(2026, 1, 1, tzinfo=UTC)
                )


def asked(house, *words):
    return json.loads(house.sereno(*words, "--json").stdout)


def runs(house, job="analyze", database="main"):
    return [
        run for run in asked(house, "history") if (run["job"], run["database"]) == (job, database)
    ]


def kinds(house):
    return [alert["kind"] for alert in asked(house, "alerts", "list")]


@contextmanager
def serving(house, **environment):
    house.write()
    service = subprocess.Popen(
        [sys.executable, "-m", "daemon", "run", "--config", house.path],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield service
    finally:
        service.kill()
        service.wait()
        print(service.stdout.read())  # noqa: T201 - shown where a test fails
        service.stdout.close()


@pytest.fixture
def systemd(tmp_path):
    """The other end of NOTIFY_SOCKET."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(20)
        yield (
            path,
            lambda: dict(line.split("=", 1) for line in listener.recv(65536).decode().splitlines()),
        )


def until(receive, key):
    for _ in range(500):
        said = receive()
        if key in said:
            return said
    raise AssertionError(f"{key} was not said")


def test_ready_alive_reloading_stopping(house, systemd):
    path, receive = systemd
    house.with_logins = False
    with serving(house, NOTIFY_SOCKET=path, WATCHDOG_USEC="900000") as service:
        ready = until(receive, "READY")
        assert ready["STATUS"].startswith("idle; next: daily")
        assert ready["STATUS"].endswith("02:00 -04")
        assert asked(house, "status")["service"]
        began = time.monotonic()
        for _ in range(3):
            assert until(receive, "WATCHDOG")["WATCHDOG"] == "1"
        assert time.monotonic() - began < 3

        good = house.path.read_text()
        house.path.write_text(good.replace('cron = "0 2 * * *"', 'cron = "30 4 * * *"'))
        service.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC" in until(receive, "RELOADING")
        assert until(receive, "READY")["STATUS"].endswith("04:30 -04")

        house.write = lambda: house.path
        house.path.write_text(good.replace('cron = "0 2 * * *"', 'cron = "30 25 * * *"'))
        service.send_signal(signal.SIGHUP)
        assert until(receive, "READY")["STATUS"].endswith("04:30 -04"), "the old one stays"
        house.path.write_text(good)
        (alert,) = asked(house, "alerts", "list")
        assert (alert["kind"], "schedules.daily.cron" in alert["summary"]) == (
            "configuration_invalid",
            True,
        )
        service.send_signal(signal.SIGHUP)
        assert until(receive, "READY")["STATUS"].endswith("02:00 -04")
        assert kinds(house) == []

        service.send_signal(signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC" in until(receive, "STOPPING")
        assert service.wait(10) == 0


def test_the_state_file_is_not_changed_under_a_running_service(house, systemd):
    path, receive = systemd
    house.with_logins = False
    with serving(house, NOTIFY_SOCKET=path) as service:
        until(receive, "READY")
        house.path.write_text(house.path.read_text().replace("state.db", "other.db"))
        service.send_signal(signal.SIGHUP)
        until(receive, "READY")
    assert not (house.folder / "other.db").exists()


def test_two_lists_at_one_place_stop_as_fast_as_one(house, wait):
    database = house.database
    database.run(SLOW)
    local = datetime.now(UTC) + LA_PAZ
    line = f"{local.minute} {local.hour} * * *"
    house.extra = f'[schedules.other]\ncron = "{line}"\njobs = ["analyze"]\n'
    due_now(house, ["analyze"])
    with serving(house) as service:
        wait(lambda: database.rows(ANALYZING))
        began = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
        assert time.monotonic() - began < 4


@contextmanager
def serving_beside_a_deaf_server(house, wait):
    """Its backend is stopped in the middle of an ANALYZE, so that it does not answer a cancel."""
    database = house.database
    database.run(SLOW)
    due_now(house, ["analyze"])
    with serving(house) as service:
        (row,) = wait(lambda: database.rows(ANALYZING.replace("FROM", "pid FROM")))
        os.kill(row["pid"], signal.SIGSTOP)
        try:
            service.send_signal(signal.SIGTERM)
            yield service
        finally:
            os.kill(row["pid"], signal.SIGCONT)


def test_a_second_signal_ends_it_at_once(house, wait):
    """The first waits for a server that does not answer its cancel: it is stopped itself."""
    with serving_beside_a_deaf_server(house, wait) as service:
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(1.5)
        service.send_signal(signal.SIGTERM)
        assert service.wait(1) == -signal.SIGTERM


def test_a_server_that_does_not_answer_keeps_nobody_from_stopping_in_time(house, wait):
    with serving_beside_a_deaf_server(house, wait) as service:
        assert service.wait(10) == 0
    assert [(run["state"], run["reason"]) for run in runs(house)] == [
        ("interrupted", "stopped before the server answered")
    ]


def test_a_killed_process_leaves_an_orphan_that_is_told_and_taken_up(house, wait):
    database = house.database
    database.run(SLOW)
    due_now(house, ["analyze"])
    with serving(house):
        wait(lambda: database.rows(ANALYZING))
    wait(lambda: not database.rows(ANALYZING), 5, "the end of a dead client's statement")
    database.run("CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN a; END $$")  # fmt: skip
    with serving(house):
        wait(lambda: "task_interrupted" in kinds(house), what="the alert")
        wait(lambda: runs(house)[0]["state"] == "finished", what="the rest")
        wait(lambda: kinds(house) == [], what="its end")
    again, orphan = runs(house)
    assert (orphan["state"], "exited without recording a result" in orphan["reason"]) == (
        "interrupted",
        True,
    )
    assert again["nominal"] == orphan["nominal"]


def test_a_server_that_is_down_is_waited_for_told_once_and_delays_no_other(
    house, scratch, wait, endpoint
):
    folder = scratch / "down"
    folder.mkdir(mode=0o755)
    down = Cluster(folder, embedded_binaries(), {}).create().start()
    down.stop()
    ticket = endpoint()
    house.extra = (
        f'[databases.down]\ndsn = "host={down.socket} port={down.port} dbname=postgres user=postgres"\n'
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\ncritical = ["ticket"]\n'
    )
    due_now(house, ["analyze", "integrity_check"])
    with serving(house):
        wait(
            lambda: (
                runs(house, "integrity_check")[:1]
                and runs(house, "integrity_check")[0]["state"] == "finished"
            )
        )
        assert [run["state"] for run in runs(house, "analyze", "down")] == ["running"]
        wait(lambda: len(ticket.requests) == 1, what="the alert")
        alert = json.loads(ticket.requests[0]["body"])["data"]
        assert (alert["kind"], alert["severity"], alert["database"]) == (
            "database_unreachable",
            "CRITICAL",
            "down",
        )
        time.sleep(2.5)  # another try has failed meanwhile, and is not told
        down.start()
        try:
            wait(lambda: runs(house, "integrity_check", "down")[:1], 30, "the run")
            wait(lambda: runs(house, "integrity_check", "down")[0]["state"] == "finished")
            wait(lambda: len(ticket.requests) == 2, what="the resolve")
            (row,) = runs(house, "analyze", "down")
            assert row["state"] == "finished"
            assert json.loads(ticket.requests[1]["body"])["data"]["state"] == "resolved"
        finally:
            down.stop("immediate")


def test_pings_say_when_it_begins_how_it_ends_and_that_all_is_well(house, wait, endpoint):
    outside = endpoint((200, {}, b"OK"))
    secret = house.folder / "ping"
    secret.write_text(f"{outside.url}/uuid\n")
    house.extra = f'[heartbeat]\nurl = {{ file = "{secret}" }}\nevery = "1s"\n'
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    due_now(house, ["analyze"], f'heartbeat = {{ file = "{secret}" }}')
    with serving(house, WATCHDOG_USEC="1500000"):
        wait(lambda: len(outside.requests) >= 4, what="the pings")
    paths = [request["path"] for request in outside.requests]
    assert (paths[0], set(paths[1:])) == ("/uuid/start", {"/uuid"})
    assert {request["body"] for request in outside.requests} == {b""}


def test_the_heart_says_what_is_wrong(house, wait, endpoint):
    outside = endpoint((200, {}, b"OK"))
    secret = house.folder / "ping"
    secret.write_text(f"{outside.url}/uuid\n")
    house.extra = (
        f'[heartbeat]\nurl = {{ file = "{secret}" }}\nevery = "1s"\n'
        f'[channels.ticket]\ntype = "webhook"\nurl = "{endpoint((400, {}, b"")).url}/"\n[routes]\nhigh = ["ticket"]\n'
    )
    house.with_logins = False
    house.sereno("alerts", "test")
    with serving(house, WATCHDOG_USEC="1500000"):
        wait(lambda: outside.requests, what="the ping")
    (first, *_) = outside.requests
    assert (first["path"], first["body"]) == ("/uuid/fail", b"channel ticket delivers nothing")


@pytest.mark.parametrize("broken", ["newer", "folder", "garbage", "configuration"])
def test_what_it_cannot_live_with_is_said_everywhere(house, systemd, broken):
    path, receive = systemd
    house.with_logins = False
    house.sereno("status")
    state, code = house.folder / "state.db", 2
    if broken == "newer":
        from store.store import Store

        with Store(state).transaction() as transaction:
            transaction.execute("PRAGMA user_version = 999")
    elif broken == "folder":
        state.unlink()
        house.path.write_text(
            house.path.read_text().replace(str(state), str(house.folder / "gone" / "state.db"))
        )
        house.write = lambda: house.path
    elif broken == "garbage":
        state.write_bytes(b"no database" * 100)
    else:
        house.path.write_text(house.path.read_text() + "[daemno]\n")
        house.write = lambda: house.path
        code = 78
    with serving(house, NOTIFY_SOCKET=path) as service:
        assert service.wait(20) == code
        output = service.stdout.read()
    said = until(receive, "STATUS")["STATUS"]
    assert "READY" not in said
    assert said in output
    (critical,) = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert (critical["level"], critical["exit"]) == ("critical", code)


def test_a_state_file_on_a_full_disk_is_no_crash_loop(house, tmp_path, wait):
    """The disk is full while a run is due: the service stays, says so, and does the work when there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        due_now(house, ["analyze"])
        path = house.write()
        path.write_text(
            path.read_text().replace(str(house.folder / "state.db"), str(small / "state.db"))
        )
        long_planned(house)
        service = house.start("run")
        wait(lambda: runs(house)[:1] and runs(house)[0]["state"] == "finished", what="a first run")
        local = datetime.now(UTC) + LA_PAZ
        fill = subprocess.run(
            ["dd", "if=/dev/zero", f"of={small}/fill", "bs=4k"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "No space" in fill.stderr
        path.write_text(path.read_text().replace(f"{local.minute} {local.hour} * * *", "* * * * *"))
        service.send_signal(signal.SIGHUP)
        time.sleep(3)  # the time in which it would end, if a full disk ended it
        assert service.poll() is None
        (small / "fill").unlink()
        wait(lambda: service.poll() is None and asked(house, "status")["service"])
        service.send_signal(signal.SIGHUP)
        wait(
            lambda: len([run for run in runs(house) if run["state"] == "finished"]) >= 2,
            90,
            "the next minute's run",
        )
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
        output = service.stdout.read()
        service.stdout.close()
        assert "full" in output
        assert "Traceback" not in output
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.parametrize("broken", ["nothing", "state", "configuration", "check"])
def test_its_death_is_told_without_it(house, endpoint, broken):
    ticket = endpoint()
    house.extra = f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\ncritical = ["ticket"]\n'
    house.with_logins = False
    with serving(house):
        for _ in range(200):
            if (house.folder / "config.last-good.toml").exists():
                break
            time.sleep(0.05)
    if broken == "state":
        (house.folder / "state.db").write_bytes(b"no database")
    if broken == "configuration":
        path = house.write()
        path.write_text("nonsense")
        house.write = lambda: path
    if broken == "check":
        (house.folder / "checks.d").mkdir()
        (house.folder / "checks.d" / "bad.sql").write_text("-- title =\nSELECT")
    environment = {**os.environ, "STATE_DIRECTORY": str(house.folder), "MONITOR_SERVICE_RESULT": "exit-code", "MONITOR_EXIT_STATUS": "78"}  # fmt: skip
    done = house.sereno("alerts", "service-failed", check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "ticket: notified\n"), done.stderr
    (request,) = ticket.requests
    data = json.loads(request["body"])["data"]
    assert (data["kind"], data["severity"], data["object"]) == (
        "service_failed",
        "CRITICAL",
        "sereno.service",
    )
    assert "exit-code, exit status 78" in data["message"]


def test_a_channel_that_refuses_has_not_told_its_death(house, endpoint):
    ticket = endpoint((404, {}, b""))
    house.extra = f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\ncritical = ["ticket"]\n'
    house.with_logins = False
    done = house.sereno("alerts", "service-failed", check=False)
    assert (done.returncode, done.stdout) == (1, "ticket: dead: HTTP 404\n")


def test_a_death_that_is_kept_quiet_was_not_told(house, endpoint):
    ticket = endpoint()
    house.extra = f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\ncritical = ["ticket"]\n'
    house.with_logins = False
    house.sereno(
        "alerts",
        "silence",
        "--check",
        "service_*",
        "--for",
        "1h",
        "--reason",
        "moving",
        "--as",
        "ana",
    )
    done = house.sereno("alerts", "service-failed", check=False)
    assert (done.returncode, ticket.requests) == (1, [])
    assert "ticket: not notified: silence 1" in done.stdout
    assert "by ana: moving" in done.stdout


def test_status_says_that_nobody_can_be_told(house, endpoint):
    ticket = endpoint((404, {}, b""))
    house.extra = f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\ncritical = ["ticket"]\n'
    house.with_logins = False
    assert house.sereno("status", check=False).returncode == 0
    house.sereno("alerts", "test", check=False)
    done = house.sereno("status", check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "NO CHANNEL DELIVERS: ticket" in done.stdout


def test_a_limit_that_was_learnt_outlives_a_reload_unless_the_channel_is_another(house):
    house.extra = (
        '[channels.a]\ntype = "webhook"\nurl = "http://127.0.0.1:1"\n[channels.b]\ntype = "log"\n'
    )
    house.with_logins = False
    before = house.context()
    for name in "ab":
        before.rate_limits[name] = RateLimit()
        before.rate_limits[name].failed(DeliveryError(Failure.THROTTLED, "slow down", 60.0), 60.0)
    house.extra = house.extra.replace("127.0.0.1:1", "127.0.0.1:2")
    after = house.context()
    after.inherit_limits(before)
    assert list(after.rate_limits) == ["b"]
    assert after.courier().rate_limits["b"].pause() > 50


def test_the_watchdog_names_the_silent_thread():
    now = [0.0]
    watchdog = Watchdog(lambda: now[0])
    watchdog.beat("courier slack", 300)
    watchdog.beat("run 7", 600)
    now[0] = 299
    assert watchdog.silent() == ""
    now[0] = 601
    watchdog.beat("courier slack", 300)
    assert watchdog.silent() == "no heartbeat from run 7 for 1 s longer than expected"
    watchdog.end("run 7")
    assert watchdog.silent() == ""
