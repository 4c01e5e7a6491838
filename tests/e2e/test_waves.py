"""A schedule that goes on to its next databases only when the first ones have ended well."""

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts import alert_store
from alerts.heartbeat import Heartbeat
from daemon.runs.runner import Runner
from daemon.scheduling.dispatcher import Dispatcher
from execution.progress import NoProgress

FLEET = """
[fleet]
waves = ["1", "2"]
[databases.b]
dsn = "{b}"
[databases.c]
dsn = "{c}"
priority = 5
[databases.d]
dsn = "{d}"
"""


@pytest.fixture
def fleet(make_database, server, house, wait):
    """A schedule over four databases of one server in three waves: c; main and b; d."""
    house.with_logins = False
    with ExitStack() as stack:
        databases = {name: stack.enter_context(make_database(server)) for name in "bcd"}
        yield _configured({name: one.dsn for name, one in databases.items()}, house, wait)


def _configured(dsns, house, wait):
    house.extra = FLEET.format(**dsns)
    text = house.write().read_text()
    jobs = '["log_cleanup", "analyze", "disk_check", "integrity_check"]'
    assert jobs in text
    house.path.write_text(text.replace(jobs, '["analyze"]'))
    house.write = lambda: house.path
    return _Fleet(house, wait)


class _Fleet:
    def __init__(self, house, wait):
        self.wait = wait
        self.now = datetime(2026, 3, 27, 5, 50, tzinfo=UTC)
        self.context = replace(house.context(), clock=lambda: self.now)
        self.runner = Runner(self.context, NoProgress())
        self.dispatcher = Dispatcher(self.context, self.runner, Heartbeat(list))

    def night(self, day):
        """Run the due time of a day; return state and reason of each database in order."""
        self.now = datetime(2026, 3, day, 6, 0, 1, tzinfo=UTC)
        self.dispatcher.look("daily")
        self.wait(lambda: not self.dispatcher.busy, what="the end of the night")
        minute = f"2026-03-{day}T02:00"
        with self.context.store.reading() as transaction:
            return transaction.rows(
                "SELECT database, state, reason, cause FROM run WHERE nominal = ? ORDER BY id",
                (minute,),
            )

    def refuse(self, database):
        """Have runs in a database fail: another server answers than before."""
        with self.context.store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO target VALUES (?, '1', 1, '2026-01-01', 0) ON CONFLICT (database)"
                " DO UPDATE SET system_identifier = '1', database_oid = 1",
                (database,),
            )

    def mend(self, database):
        with self.context.store.transaction() as transaction:
            transaction.execute("DELETE FROM target WHERE database = ?", (database,))

    def alerts(self):
        with self.context.store.reading() as transaction:
            return {one.kind: one for one in alert_store.load_open(transaction)}


def test_waves_follow_each_other_by_priority(fleet):
    ran = fleet.night(27)
    assert [row["database"] for row in ran][:1] == ["c"]
    assert {row["database"] for row in ran[1:3]} == {"main", "b"}
    assert [row["database"] for row in ran][3:] == ["d"]
    assert {row["state"] for row in ran} == {"finished"}
    assert fleet.alerts() == {}


def test_next_wave_is_not_begun_after_a_failing_one_until_the_next_night(fleet):
    fleet.refuse("b")
    ran = {row["database"]: row for row in fleet.night(27)}
    states = {name: row["state"] for name, row in ran.items()}
    assert states == {"c": "finished", "main": "finished", "b": "failed", "d": "skipped"}
    assert ran["d"]["cause"] == "wave_stopped"
    why = "wave 2 of 3: runs failed in 1 of its 2 databases"
    assert ran["d"]["reason"] == f"not begun: {why}"
    alerts = fleet.alerts()
    assert alerts.keys() == {"task_failed", "wave_stopped"}
    assert (
        alerts["wave_stopped"].summary == f"schedule daily did not go on after {why}; not begun: d"
    )
    fleet.now += timedelta(minutes=5)
    fleet.dispatcher.look("daily")
    assert not fleet.dispatcher.busy, "nothing is owed any more"
    fleet.mend("b")
    assert {row["state"] for row in fleet.night(28)} == {"finished"}
    assert fleet.alerts() == {}


def test_restart_within_a_night_remembers_the_failing_wave(fleet):
    fleet.refuse("c")
    first = fleet.night(27)
    assert [row["state"] for row in first] == ["failed", "skipped", "skipped", "skipped"]
    with fleet.context.store.transaction() as transaction:  # as if it had been killed before
        transaction.execute("DELETE FROM run WHERE state = 'skipped'")
    fleet.dispatcher = Dispatcher(fleet.context, fleet.runner, Heartbeat(list))
    again = fleet.night(27)
    assert [row["state"] for row in again] == ["failed", "skipped", "skipped", "skipped"]


def test_database_with_the_greater_priority_begins_first(fleet, house):
    house.path.write_text(house.path.read_text().replace('waves = ["1", "2"]', "waves = []"))
    house.path.write_text(house.path.read_text().replace("[daemon]", "[daemon]\nat_once = 1"))
    fleet = _Fleet(house, fleet.wait)
    assert next(row["database"] for row in fleet.night(27)) == "c"
    done = house.sereno("now", "analyze", "--json")
    runs = sorted(json.loads(done.stdout), key=lambda run: run["id"])
    assert runs[0]["database"] == "c"
