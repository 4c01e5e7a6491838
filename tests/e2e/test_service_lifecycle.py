"""The service under systemd: ready, watchdog, reload, stop, and failure to start."""

import json
import signal
import socket
import time

import pytest

from alerts.channels.channel import DeliveryError, Failure
from alerts.rate_limit import RateLimit
from store.state_file import FileStore
from tests.e2e.service_process import alert_kinds, query, running_service


@pytest.fixture
def systemd(tmp_path):
    """Listen on NOTIFY_SOCKET; return its path and a function that receives one message."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(20)
        yield (
            path,
            lambda: dict(line.split("=", 1) for line in listener.recv(65536).decode().splitlines()),
        )


def receive_until(receive, key):
    for _ in range(500):
        message = receive()
        if key in message:
            return message
    raise AssertionError(f"{key} was not received")


def test_service_notifies_ready_watchdog_reloading_and_stopping(house, systemd):
    path, receive = systemd
    house.with_logins = False
    with running_service(house, NOTIFY_SOCKET=path, WATCHDOG_USEC="900000") as service:
        ready = receive_until(receive, "READY")
        assert ready["STATUS"].startswith("idle; next: daily")
        assert ready["STATUS"].endswith("02:00 -04")
        assert query(house, "status")["service"]
        started = time.monotonic()
        for _ in range(3):
            assert receive_until(receive, "WATCHDOG")["WATCHDOG"] == "1"
        assert time.monotonic() - started < 3

        valid = house.path.read_text()
        house.path.write_text(valid.replace('cron = "0 2 * * *"', 'cron = "30 4 * * *"'))
        service.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC" in receive_until(receive, "RELOADING")
        assert receive_until(receive, "READY")["STATUS"].endswith("04:30 -04")

        house.write = lambda: house.path
        house.path.write_text(valid.replace('cron = "0 2 * * *"', 'cron = "30 25 * * *"'))
        service.send_signal(signal.SIGHUP)
        assert receive_until(receive, "READY")["STATUS"].endswith("04:30 -04"), (
            "the previous schedule stays"
        )
        house.path.write_text(valid)
        (alert,) = query(house, "alerts", "list")
        assert (alert["kind"], "schedules.daily.cron" in alert["summary"]) == (
            "configuration_invalid",
            True,
        )
        service.send_signal(signal.SIGHUP)
        assert receive_until(receive, "READY")["STATUS"].endswith("02:00 -04")
        assert alert_kinds(house) == []

        service.send_signal(signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC" in receive_until(receive, "STOPPING")
        assert service.wait(10) == 0


def test_file_that_is_dropped_into_the_folder_of_checks_is_used_without_a_reload(
    house, systemd, wait
):
    path, receive = systemd
    house.with_logins = False
    folder = house.folder / "checks.d"
    folder.mkdir()
    with running_service(house, NOTIFY_SOCKET=path, WATCHDOG_USEC="900000"):
        receive_until(receive, "READY")
        (folder / "mine.sql").write_text("-- titel = 'x'\nSELECT 'x' AS object")
        receive_until(receive, "RELOADING")
        receive_until(receive, "READY")
        wait(lambda: alert_kinds(house) == ["configuration_invalid"], what="the alert")
        (alert,) = query(house, "alerts", "list")
        assert "mine.sql: unknown header key 'titel'" in alert["summary"]
    with running_service(house, NOTIFY_SOCKET=path, WATCHDOG_USEC="900000"):
        receive_until(receive, "READY")  # a start is not refused either
        assert alert_kinds(house) == ["configuration_invalid"]
        (folder / "mine.sql").write_text("-- title = 'x'\nSELECT 'x' AS object, 'y' AS summary")
        receive_until(receive, "RELOADING")
        wait(lambda: alert_kinds(house) == [], what="the end of the alert")
        (folder / "mine.sql").unlink()
        receive_until(receive, "RELOADING")


def test_reload_does_not_change_the_state_file(house, systemd):
    path, receive = systemd
    house.with_logins = False
    with running_service(house, NOTIFY_SOCKET=path) as service:
        receive_until(receive, "READY")
        house.path.write_text(house.path.read_text().replace("state.db", "other.db"))
        service.send_signal(signal.SIGHUP)
        receive_until(receive, "READY")
    assert not (house.folder / "other.db").exists()


@pytest.mark.parametrize("broken", ["newer", "folder", "garbage", "configuration"])
def test_startup_failure_is_reported_in_status_log_and_exit_code(house, systemd, broken):
    house.need_state_file()
    path, receive = systemd
    house.with_logins = False
    house.context()
    state, code = house.folder / "state.db", 2
    if broken == "newer":
        with FileStore(state).transaction() as transaction:
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
    with running_service(house, NOTIFY_SOCKET=path) as service:
        assert service.wait(20) == code
        output = service.stdout.read()
    status = receive_until(receive, "STATUS")["STATUS"]
    assert "READY" not in status
    assert status in output
    (critical,) = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert (critical["level"], critical["exit"]) == ("critical", code)


def test_reload_keeps_the_rate_limit_of_an_unchanged_channel(house):
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
    after.inherit_deliveries(before)
    assert list(after.rate_limits) == ["b"]
    assert after.courier().rate_limits["b"].pause() > 50


def test_reload_keeps_the_receipts_that_are_still_to_be_stored(house):
    house.with_logins = False
    before, after = house.context(), house.context()
    before.courier().unstored["log"] = print
    after.inherit_deliveries(before)
    assert after.courier().unstored == {"log": print}
