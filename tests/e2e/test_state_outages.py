"""An unusable state file: no run, /healthz 503, a critical alert from memory, and recovery."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest

from daemon.demo.cluster import free_port
from daemon.unrecorded_alerts import MARK
from store.state_check import StateCheck
from tests.e2e.service_process import query, running_service, runs, schedule_now
from tests.e2e.test_jira_channel import FakeJira
from tests.fixtures.notifications import respond_with
from tests.fixtures.secrets import write_secret

pytestmark = pytest.mark.skipif(
    os.environ.get("SERENO_TEST_STATE") == "database", reason="outages of files"
)
CHANNEL = '[channels.ticket]\ntype = "webhook"\nurl = "{}/"\n[routes]\ncritical = ["ticket"]\n'
FAST = {"WATCHDOG_USEC": "3000000"}
"""The service looks at its state three times per interval of the watchdog."""


@contextmanager
def full(folder, _state):
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={folder}/fill", "bs=4k"], capture_output=True, check=False
    )
    yield
    (folder / "fill").unlink()


@contextmanager
def immutable(folder, state):
    subprocess.run(["chattr", "+i", folder, state], check=True)
    yield
    subprocess.run(["chattr", "-i", folder, state], check=True)


@contextmanager
def moved_away(folder, state):
    state.rename(folder / "elsewhere")
    yield
    (folder / "elsewhere").rename(state)


def replaced(change):
    @contextmanager
    def outage(folder, state):
        shutil.copy2(state, folder / "good")
        change(folder, state)
        yield
        (folder / "good").replace(state)

    return outage


def empty(_folder, state):
    os.truncate(state, 0)


def put_back_first_copy(folder, state):
    (folder / "first").replace(state)


def set_newer_schema(_folder, state):
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("PRAGMA user_version = 99")


def set_other_instance(_folder, state):
    with closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("UPDATE instance SET value = 'other' WHERE name = 'id'")


OUTAGES = {
    "full": (full, "full"),
    "immutable": (immutable, "readonly"),
    "moved": (moved_away, "unable to open"),
    "emptied": (replaced(empty), "its schema is 0|malformed"),
    "older": (replaced(put_back_first_copy), "an older copy"),
    "newer": (replaced(set_newer_schema), "its schema is 99"),
    "other": (replaced(set_other_instance), "of another instance"),
}


def health(listen):
    try:
        with urllib.request.urlopen(f"http://{listen}/healthz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


@pytest.fixture
def folder(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=True)
    yield small
    subprocess.run(["umount", "-l", small], check=True)


def set_up(house, folder, extra):
    """Configure a house whose state file lies in a folder and whose schedule is due in January."""
    house.listen = f"127.0.0.1:{free_port()}"
    house.extra = extra
    house.with_logins = False
    path, state = house.write(), folder / "state.db"
    path.write_text(
        path.read_text()
        .replace(str(house.folder / "state.db"), str(state))
        .replace("0 2 * * *", "0 0 1 1 *")
    )
    house.write = lambda: path
    return state


@pytest.mark.parametrize("name", OUTAGES)
def test_unusable_state_file_is_alerted_from_memory_and_recovers(
    house, folder, endpoint, wait, name
):
    outage, reason = OUTAGES[name]
    ticket = endpoint()
    extra = CHANNEL.format(ticket.url)
    state = set_up(house, folder, extra)
    with running_service(house, **FAST) as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        shutil.copy2(state, folder / "first")
        wait(lambda: _checks(state) > _checks(folder / "first") + 1, what="further checks")
        with outage(folder, state):
            wait(lambda: health(house.listen)[0] == 503, what="the outage")
            assert re.search(reason, health(house.listen)[1])
            wait(lambda: len(ticket.requests) == 1, what="the alert from memory")
            data = json.loads(ticket.requests[0]["body"])["data"]
            assert (data["kind"], data["severity"]) == ("state_unusable", "CRITICAL")
            assert data["details"]["unrecorded"] == MARK
        wait(lambda: health(house.listen) == (200, "well\n"), what="the recovery")
        wait(
            lambda: (
                [json.loads(one["body"])["data"]["state"] for one in ticket.requests][-1]
                == "resolved"
            ),
            what="the resolved notification",
        )
        assert service.poll() is None
    kinds = [alert["kind"] for alert in query(house, "alerts", "list", "--all")]
    assert kinds == ["state_unusable"]
    assert len(ticket.requests) == 2  # the copy from memory is not sent again
    assert ticket.requests[0]["headers"]["webhook-id"] in _sent_ids(state)


def _sent_ids(state):
    with closing(sqlite3.connect(state)) as connection:
        found = connection.execute("SELECT id FROM notification WHERE state = 'sent'")
        return [row[0] for row in found]


def test_checks_go_on_without_the_state_file_and_keep_the_ids_of_their_alerts(
    house, folder, endpoint, wait
):
    database = house.database
    database.run("CREATE TABLE public.ends (id int GENERATED ALWAYS AS IDENTITY)")
    database.run("SELECT setval('public.ends_id_seq', 2147483000)")
    database.run("CREATE TABLE public.t (a int)")
    ticket = endpoint()
    extra = CHANNEL.format(ticket.url) + (
        f'[databases.away]\ndsn = "host=127.0.0.1 port={free_port()} dbname=x user=postgres"\n'
    )
    state = set_up(house, folder, extra)
    with running_service(house, **FAST):
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        with moved_away(folder, state):
            wait(lambda: len(ticket.requests) >= 3, what="the alerts from memory")
            data = [json.loads(one["body"])["data"] for one in ticket.requests]
            assert sorted((one["kind"], one["database"]) for one in data) == [
                ("database_unreachable", "away"),
                ("sequence_exhaustion", "main"),
                ("state_unusable", ""),
            ]
            assert {one["details"]["unrecorded"] for one in data} == {MARK}
        wait(lambda: health(house.listen) == (200, "well\n"), what="the recovery")
        wait(lambda: len(ticket.requests) == 4, what="the resolved notification")
        wait(lambda: len(_sent_ids(state)) == 4, what="its receipt")
    listed = query(house, "alerts", "list")
    assert sorted(one["kind"] for one in listed) == ["database_unreachable", "sequence_exhaustion"]
    ids = [one["headers"]["webhook-id"] for one in ticket.requests]
    assert sorted(ids) == sorted(_sent_ids(state))


def test_second_outage_goes_to_the_ticket_of_the_first(house, folder, endpoint, wait):
    jira = FakeJira()
    state = set_up(house, folder, jira_channel(house, endpoint(jira).url))
    with running_service(house, **FAST):
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        for comments in (1, 3):
            with moved_away(folder, state):
                wait(lambda: health(house.listen)[0] == 503, what="the outage")
                told = comments - 1
                wait(lambda told=told: jira.issues and _comments(jira) >= told, what="the message")
            wait(lambda comments=comments: _comments(jira) == comments, what="the resolved message")
            wait(lambda: health(house.listen) == (200, "well\n"), what="the recovery")
    assert [issue["state"] for issue in jira.issues.values()] == ["Done"]


def test_alert_that_waits_for_jira_during_an_outage_gets_one_issue(house, folder, endpoint, wait):
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 99)")
    jira = FakeJira()
    server = endpoint(respond_with(503))
    state = set_up(house, folder, jira_channel(house, server.url))
    with running_service(house, WATCHDOG_USEC="15000000"):
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        house.sereno("now", "integrity_check")
        wait(lambda: server.requests, what="the first attempt")
        with moved_away(folder, state):
            wait(lambda: health(house.listen)[0] == 503, what="the outage")
            server.answer = jira
            wait(lambda: len(jira.issues) == 2, what="the alerts from memory")
            with closing(sqlite3.connect(folder / "elsewhere")) as connection, connection:
                connection.execute(
                    "UPDATE notification"
                    " SET not_before = created_at, state = 'pending', lease_until = NULL"
                )
        wait(lambda: _comments(jira) == 2, what="the waiting and the resolved message")
    assert len(jira.issues) == 2


def jira_channel(house, url):
    """Return the configuration of a Jira channel that gets the critical alerts."""
    write_secret(house.folder / "token", "canary")
    return (
        f'[channels.jira]\ntype = "jira"\nurl = "{url}"\nproject = "OPS"\n'
        f'token = {{ file = "{house.folder}/token" }}\n[routes]\ncritical = ["jira"]\n'
    )


def _comments(jira):
    return sum(len(issue["comments"]) for issue in jira.issues.values())


def test_open_alert_is_not_sent_again_in_an_outage(house, folder, endpoint, wait):
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 99)")
    ticket = endpoint()
    extra = CHANNEL.format(ticket.url)
    state = set_up(house, folder, extra)
    house.sereno("now", "integrity_check")
    assert len(ticket.requests) == 1
    with running_service(house, **FAST) as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        house.database.run("CREATE SEQUENCE public.z MAXVALUE 100; SELECT setval('public.z', 99)")
        with moved_away(folder, state):
            wait(lambda: len(ticket.requests) == 3, what="the alerts from memory")
        wait(lambda: health(house.listen) == (200, "well\n"), what="the recovery")
        wait(lambda: len(ticket.requests) == 4, what="the resolved notification")
        assert service.poll() is None
    data = [json.loads(one["body"])["data"] for one in ticket.requests]
    assert sorted((one["kind"], one["object"]) for one in data) == [
        ("sequence_exhaustion", "public.s"),
        ("sequence_exhaustion", "public.z"),
        ("state_unusable", ""),
        ("state_unusable", ""),
    ]


def _checks(path):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT value FROM instance WHERE name = 'checks'").fetchone()
    return int(found[0]) if found else 0


def test_no_run_begins_while_an_older_copy_is_in_place(house, folder, endpoint, wait):
    house.listen = f"127.0.0.1:{free_port()}"
    house.extra = CHANNEL.format(endpoint().url)
    state = folder / "state.db"
    cron = schedule_now(house, ["analyze"])
    path = house.write()
    path.write_text(
        path.read_text()
        .replace(str(house.folder / "state.db"), str(state))
        .replace(cron, "0 0 1 1 *")
    )
    with running_service(house, **FAST) as service:
        wait(lambda: health(house.listen)[0] == 200, what="the service")
        shutil.copy2(state, folder / "first")
        wait(lambda: _checks(state) > _checks(folder / "first") + 1, what="further checks")
        with OUTAGES["older"][0](folder, state):
            wait(lambda: health(house.listen)[0] == 503, what="the outage")
            path.write_text(path.read_text().replace("0 0 1 1 *", "* * * * *"))
            service.send_signal(1)
            wait(lambda: health(house.listen)[0] == 503, what="the outage after the reload")
            assert runs(house) == []
        wait(lambda: runs(house)[:1], 90, "a run after the recovery")


def test_status_exits_1_when_the_running_service_cannot_write(house):
    context = house.context()
    StateCheck(context.store).verify(context.clock() - timedelta(minutes=9))
    assert house.sereno("status").returncode == 0
    with context.store.owned():
        done = house.sereno("status")
    assert done.returncode == 1
    assert "RED: the state file cannot be written" in done.stdout
    assert "running, but CANNOT WRITE its state file since" in done.stdout
    StateCheck(context.store).verify(context.clock())
    with context.store.owned():
        assert house.sereno("status").returncode == 0
