"""Metrics of migrations, by migration and database."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from daemon.history import history, migrating
from daemon.history.migrating import MigrationRow
from daemon.monitoring.migration_metrics import migration_metrics
from domain.cause import Cause
from domain.task import Request, Scope, Task
from store.opening import open_store
from store.timestamps import to_text

pytestmark = pytest.mark.usefixtures("any_state")

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
GATES = [{"name": "begin.rung", "state": "waived"}, {"name": "cleanup.soak", "state": "closed"}]


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "state.db")


def ran(transaction, database, state, cause=None, seconds=2.0, done=0):
    asked = Request("0001_x", "ana", "", None, "", "apply")
    run = history.begin_run(
        transaction, Task("migrate", Scope.DATABASE, database, request=asked), NOW
    )
    values = {
        "run": run, "step": "", "number": 1, "steps": 1, "done": done, "total": 100 if done else 0,
        "rate": 1.0, "batch": 1, "reason": "", "throttled_seconds": 1.5, "attempts": 2,
        "rung_ms": 100, "blockers": "[]", "moved_at": to_text(NOW),
    }  # fmt: skip
    migrating.record_progress(transaction, values)
    history.finish_run(transaction, run, (state, "", 0, cause), NOW + timedelta(seconds=seconds))


def values_of(store):
    class Of(Collector):
        def collect(self):
            with store.reading() as transaction:
                yield from migration_metrics(transaction)

    registry = CollectorRegistry()
    registry.register(Of())
    return registry.get_sample_value


def test_no_migration_gives_no_metric(store):
    with store.reading() as transaction:
        assert list(migration_metrics(transaction)) == []


def test_every_cause_has_a_type_and_databases_are_apart(store):
    with store.transaction() as transaction:
        for cause in Cause:
            ran(transaction, "a", "failed", cause)
        ran(transaction, "a", "interrupted", done=10)
        ran(transaction, "b", "finished", done=99)
        for database in ("a", "b"):
            row = MigrationRow("0001_x", "x", "", "", "paused", "", "", "", GATES, 1, NOW)
            migrating.replace_states(transaction, database, [row], NOW)
    value = values_of(store)
    for kind in (
        *("sql", "lock_budget", "check", "batch", "connection", "plan_changed", "gate", "tampered"),
        *("interrupted", "rollback"),
    ):
        assert (
            value("migration_errors_total", {"migration_name": "0001_x", "error_type": kind}) == 1
        )
    finished = {"migration_name": "0001_x", "status": "finished"}
    assert value("migration_duration_seconds_sum", finished) == pytest.approx(2.0, abs=0.01)
    assert value("migration_duration_seconds_bucket", finished | {"le": "1.0"}) == 0
    assert value("migration_duration_seconds_bucket", finished | {"le": "10.0"}) == 1
    assert value("migration_duration_seconds_bucket", finished | {"le": "28800.0"}) == 1
    for database, done in (("a", 10), ("b", 99)):
        place = {"migration_name": "0001_x", "database": database}
        assert value("sereno_migration_rows_done", place) == done
        assert value("sereno_migration_rows_estimated", place) == 100
        assert value("sereno_migration_waivers_total", place) == 1
        assert value("sereno_migration_gate_open", place | {"gate": "begin.rung"}) == 1
        assert value("sereno_migration_gate_open", place | {"gate": "cleanup.soak"}) == 0
    runs = len(Cause) + 2
    name = {"migration_name": "0001_x"}
    assert value("sereno_migration_throttled_seconds_total", name) == 1.5 * runs
    assert value("sereno_migration_lock_attempts_total", name) == 2 * runs
    at = value("sereno_migration_last_progress_timestamp_seconds", name)
    assert at == NOW.timestamp()


def test_databases_that_left_are_forgotten(store):
    with store.transaction() as transaction:
        row = MigrationRow("0001_x", "x", "", "", "paused", "", "", "", GATES, 1, NOW)
        for database in ("a", "gone"):
            migrating.replace_states(transaction, database, [row], NOW)
        migrating.forget_states(transaction, ["a"])
        assert [one["database"] for one in migrating.load_states(transaction)] == ["a"]
