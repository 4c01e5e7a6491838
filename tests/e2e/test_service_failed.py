"""`sereno alerts service-failed`, run by systemd, and `sereno status` without working channels."""

import json
import os
import time

import pytest

from tests.e2e.service_process import running_service


def configure_ticket(house, ticket):
    house.extra = (
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
        '[routes]\ncritical = ["ticket"]\n'
    )
    house.with_logins = False


@pytest.mark.parametrize("broken", ["nothing", "state", "configuration", "check"])
def test_service_failed_notifies_without_the_service(house, endpoint, broken):
    ticket = endpoint()
    configure_ticket(house, ticket)
    with running_service(house):
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
    environment = {
        **os.environ,
        "STATE_DIRECTORY": str(house.folder),
        "MONITOR_SERVICE_RESULT": "exit-code",
        "MONITOR_EXIT_STATUS": "78",
    }
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


def test_service_failed_exits_1_when_the_channel_refuses(house, endpoint):
    ticket = endpoint((404, {}, b""))
    configure_ticket(house, ticket)
    done = house.sereno("alerts", "service-failed", check=False)
    assert (done.returncode, done.stdout) == (1, "ticket: dead: HTTP 404\n")


def test_service_failed_exits_1_when_silenced(house, endpoint):
    ticket = endpoint()
    configure_ticket(house, ticket)
    arguments = ("--check", "service_*", "--for", "1h", "--reason", "moving", "--as", "ana")
    house.sereno("alerts", "silence", *arguments)
    done = house.sereno("alerts", "service-failed", check=False)
    assert (done.returncode, ticket.requests) == (1, [])
    assert "ticket: not notified: silence 1" in done.stdout
    assert "by ana: moving" in done.stdout


def test_status_reports_that_no_channel_delivers(house, endpoint):
    ticket = endpoint((404, {}, b""))
    configure_ticket(house, ticket)
    house.context()
    assert house.sereno("status", check=False).returncode == 0
    house.sereno("alerts", "test", check=False)
    done = house.sereno("status", check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "NO CHANNEL DELIVERS: ticket" in done.stdout
