"""Messages of type MIGRATION_STATUS: success, waiting gate, failure, stalled."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daemon.history import history, migrating
from daemon.periodic_alerts import run_periodic_alerts
from domain.task import Request, Scope, Task
from store.timestamps import to_text
from tests.postgres.migration_folder import Migrating

ID = Migrating.ID
CHANNELS = """
[channels.ops]
type = "log"
[channels.tickets]
type = "jira"
url = "http://127.0.0.1:9"
project = "OPS"
token = { env = "NOWHERE" }
[routes]
info = ["ops", "tickets"]
warning = ["ops"]
high = ["ops"]
critical = ["ops"]
"""


@pytest.fixture
def told(migrating):
    migrating.house.extra += CHANNELS
    return migrating


def messages(made):
    """Return the kind, channel, severity and reason of every message, in order."""
    with made.house.context().store.reading() as transaction:
        rows = transaction.rows(
            "SELECT channel, severity, reason, message FROM notification ORDER BY rowid"
        )
    values = [(json.loads(row["message"]), row) for row in rows]
    assert {one["type"] for one, _ in values} <= {"MIGRATION_STATUS"}
    return [(one["kind"], row["channel"], row["severity"], row["reason"]) for one, row in values]


def test_success_is_a_message_and_a_gate_is_an_alert_until_the_next_run(told):
    assert told.migrate("apply", ID, "--yes").returncode == 0
    assert messages(told) == [
        ("migration_waiting_gate", "ops", "warning", "opened"),
        ("migration_success", "ops", "info", "report"),
    ], "a ticket system gets nothing to close"
    assert told.migrate("apply", ID, "--yes", "--until", "cleanup").returncode == 0
    assert messages(told)[2:] == [
        ("migration_waiting_gate", "ops", "warning", "resolved"),
        ("migration_success", "ops", "info", "report"),
    ]


def test_failure_is_critical_until_a_run_finishes_and_a_refusal_is_none(told):
    told.write({"tighten.10.sql": "ALTER TABLE users ADD CONSTRAINT c CHECK (nothing) NOT VALID;"})
    assert told.migrate("apply", ID, "--yes").returncode == 1
    assert messages(told) == [("migration_failed", "ops", "critical", "opened")]
    told.write()
    assert told.migrate("apply", ID, "--plan", "0" * 16).returncode == 2
    assert len(messages(told)) == 1
    assert told.migrate("apply", ID, "--yes").returncode == 0
    assert ("migration_failed", "ops", "critical", "resolved") in messages(told)


def test_run_without_progress_is_told_once_and_ends_with_progress(told, monkeypatch):
    context = told.house.context()
    asked = Request(ID, "ana", "", None, "run-1", "apply")
    now = datetime.now(UTC)
    values = {
        "step": "fill data.10_fill.batch.sql", "number": 3, "steps": 9, "done": 5, "total": 10, "rate": 1.0,
        "batch": 1, "reason": "", "throttled_seconds": 0.0, "attempts": 0, "rung_ms": 0, "blockers": "[]",
    }  # fmt: skip

    def moved(at, **more):
        with context.store.transaction() as transaction:
            migrating.record_progress(
                transaction, values | {"run": run, "moved_at": to_text(at)} | more
            )

    def look(minutes):
        run_periodic_alerts(replace(context, clock=lambda: now + timedelta(minutes=minutes)), now)

    with context.store.transaction() as transaction:
        run = history.begin_run(
            transaction, Task("migrate", Scope.DATABASE, "main", request=asked), now
        )
    monkeypatch.setattr("daemon.runs.recovery.LIVE_RUNS", {run})
    moved(now)
    look(9)
    moved(now, reason="pid 7 (app) holds t")
    look(30)
    assert messages(told) == [], "a wait with a reason is none"
    moved(now)
    for minutes in (31, 32):
        look(minutes)
    assert messages(told) == [("migration_stalled", "ops", "high", "opened")]
    moved(now + timedelta(minutes=33))
    look(34)
    assert messages(told)[1:] == [("migration_stalled", "ops", "high", "resolved")]
