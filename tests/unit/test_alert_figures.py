"""Counts of alerts and messages: the time to each acknowledgement, severities at an instant."""

from datetime import UTC, datetime

import pytest

from alerts.alert_figures import load_figures, severities_at
from domain.finding import Severity
from store.opening import open_store

pytestmark = pytest.mark.usefixtures("any_state")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "state.db")


def add(store, events):
    with store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO alert (id, fingerprint, kind, cluster, database, object, task, state, severity, summary,"
            " opened_at, last_seen_at, fired_at) VALUES (1, 'f', 'k', '', '', '', '', 'firing', 'high', '',"
            " '2026-01-01T10:00:00.000000Z', '2026-01-01T10:00:00.000000Z', '2026-01-01T12:00:00.000000Z')"
        )
        for at, reason, severity in events:
            transaction.execute(
                "INSERT INTO event (alert, reason, severity, summary, occurred_at) VALUES (1, ?, ?, '', ?)",
                (reason, severity, f"2026-01-01T{at}:00.000000Z"),
            )


SINCE = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = [
    ("10:00", "opened", "warning"), ("10:05", "acknowledged", "warning"), ("12:00", "severity_raised", "high"),
    ("12:11", "acknowledged", "high"), ("13:00", "resolved", "high"),
]  # fmt: skip


def test_each_acknowledgement_counts_from_the_message_before_it(store):
    add(store, EVENTS)
    with store.reading() as transaction:
        found = load_figures(transaction, SINCE)
    assert (found.opened, found.acknowledged, found.resolved) == (1, 1, 1)
    assert found.median_seconds == pytest.approx(8 * 60, abs=0.1)


def test_severity_at_an_instant(store):
    add(store, EVENTS[:4])
    with store.reading() as transaction:
        before = severities_at(transaction, datetime(2026, 1, 1, 11, tzinfo=UTC))
        after = severities_at(transaction, datetime(2026, 1, 1, 12, 30, tzinfo=UTC))
    assert (before, after) == ({1: Severity.WARNING}, {1: Severity.HIGH})


def test_empty_store(store):
    with store.reading() as transaction:
        found = load_figures(transaction, SINCE)
    assert (found.opened, found.sent, found.median_seconds) == (0, 0, None)


@pytest.mark.parametrize(
    ("database", "cluster", "known", "place"),
    [
        ("main", "1", {"main": "1", "other": "2"}, "main"),
        ("", "1", {"main": "1", "also": "1", "other": "2"}, "server of also"),
        ("", "1", {"main": "1"}, "host"),
        ("", "", {"main": "1", "other": "2"}, "host"),
        ("", "3", {"main": "1", "other": "2"}, "host"),
    ],
)
def test_place_names_the_server_where_there_are_several(database, cluster, known, place):
    from types import SimpleNamespace

    from daemon.alert_views import place_of

    assert place_of(SimpleNamespace(database=database, cluster=cluster), known) == place
