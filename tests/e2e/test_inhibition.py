"""Inhibition by an unreachable database: it follows the database, not the state of an alert."""

import json

import pytest

from daemon.periodic_alerts import run_periodic_alerts
from daemon.runs.reaching import judge_reached, judge_unreachable
from domain.finding import Finding, Identity, Severity
from postgres.session import UnreachableError

CHANNEL = '[channels.ticket]\ntype = "webhook"\nurl = "{}/"\n[routes]\ncritical = ["ticket"]\n'


@pytest.fixture
def context(house, endpoint):
    house.extra = CHANNEL.format(endpoint().url)
    return house.context()


def record(context, verdict):
    context.process_findings(verdict.findings, verdict.coverage)


def broken_key(context):
    identity = Identity("foreign_keys", context.config.daemon.name, database="main", object="k")
    return Finding(identity, Severity.CRITICAL, "broken")


def notified_kinds(context):
    with context.store.reading() as transaction:
        rows = transaction.rows("SELECT message FROM notification")
    return [json.loads(row["message"])["kind"] for row in rows]


def make_flapping(context):
    for _ in range(3):
        record(context, judge_unreachable(context.policy, "main", UnreachableError("no answer")))
        record(context, judge_reached(context.policy, "main"))
    with context.store.reading() as transaction:
        (row,) = transaction.rows("SELECT state, flapping, passes FROM alert")
    assert (row["state"], row["flapping"]) == ("firing", 1)


def test_finding_is_notified_while_the_alert_of_an_answering_database_is_flapping(context):
    make_flapping(context)
    context.process_findings([broken_key(context)], [])
    assert "foreign_keys" in notified_kinds(context)


def test_inhibited_finding_is_notified_as_soon_as_the_database_answers(context):
    make_flapping(context)
    record(context, judge_unreachable(context.policy, "main", UnreachableError("no answer")))
    context.process_findings([broken_key(context)], [])
    assert "foreign_keys" not in notified_kinds(context)
    record(context, judge_reached(context.policy, "main"))
    run_periodic_alerts(context, context.clock())
    assert "foreign_keys" in notified_kinds(context)
