"""Alerts from memory: silences, acknowledgements and thresholds, and how they are recorded."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts import alert_store, silences
from alerts.alert import Thread
from daemon.unrecorded_alerts import UnrecordedAlerts
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity

CHANNEL = '[channels.ticket]\ntype = "webhook"\nurl = "{}/"\n[routes]\ncritical = ["ticket"]\n'
TROUBLE = Finding(Identity("orphans", "test", database="main", object="x"), Severity.CRITICAL, "7")


@pytest.fixture
def ticket(house, endpoint):
    receiver = endpoint()
    house.with_logins = False
    house.extra = CHANNEL.format(receiver.url)
    return receiver


def send(context, alerts, finding=TROUBLE):
    alerts.open()
    alerts.send(context, finding)
    return alerts.sent()


def record(context, sent, *more):
    with context.store.transaction() as transaction:
        processor = replace(context.processor(transaction), unrecorded=sent.copies)
        processor.process([*sent.findings, *more])


def kinds(receiver):
    data = [json.loads(one["body"])["data"] for one in receiver.requests]
    return [(one["kind"], one["state"]) for one in data]


def test_channel_that_got_a_copy_gets_the_resolved_message_although_the_alert_is_inhibited(
    house, ticket
):
    context = house.context()
    sent = send(context, UnrecordedAlerts())
    identity = Identity("database_unreachable", "test", database="main")
    record(context, sent, Finding(identity, Severity.CRITICAL, "it does not answer"))
    context.process_findings([], [Coverage("database_unreachable", "main", final=True)])
    context.process_findings([], [Coverage("orphans", "main", final=True)])
    context.courier().drain(10)
    assert kinds(ticket).count(("orphans", "resolved")) == 1
    assert kinds(ticket).count(("orphans", "firing")) == 1


def test_threshold_does_not_hold_back_an_alert_from_memory(house, ticket):
    house.extra += '[[alerts.thresholds]]\ncheck = "orphans"\nfailures = 3\n'
    send(house.context(), UnrecordedAlerts())
    assert kinds(ticket) == [("orphans", "firing")]


def test_silenced_and_acknowledged_alerts_are_not_sent_from_memory(house, ticket):
    house.sereno("alerts", "silence", "--check", "orphans", "--for", "1h", "--reason", "known")
    context = house.context()
    with context.store.reading() as transaction:
        known = silences.active(transaction, context.clock())
    alerts = UnrecordedAlerts()
    alerts.remember({}, known)
    send(context, alerts)
    acknowledged = Thread("T-1", "orphans", open=True, acknowledged=True)
    alerts.remember({(TROUBLE.identity.fingerprint(), "ticket"): acknowledged}, ())
    send(context, alerts)
    assert ticket.requests == []


def test_nothing_is_sent_after_the_file_can_be_used_again(house, ticket):
    context, alerts = house.context(), UnrecordedAlerts()
    send(context, alerts)
    alerts.clear()
    alerts.send(context, replace(TROUBLE, identity=replace(TROUBLE.identity, object="later")))
    assert not alerts.pending()
    assert len(ticket.requests) == 1


def test_copy_of_an_alert_that_waits_and_is_due_again_is_recorded(house, ticket):
    """Its ticket is known then, and the waiting message goes there."""
    context = house.context()
    context.process_findings([TROUBLE])
    sent = send(context, UnrecordedAlerts())
    with context.store.transaction() as transaction:
        processor = replace(context.processor(transaction), unrecorded=sent.copies)
        later = replace(processor, now=processor.now + timedelta(days=9))
        later.process(sent.findings)
        later.review()
    since = context.clock() - timedelta(days=1)
    with context.store.reading() as transaction:
        threads = alert_store.load_threads(transaction, Severity.CRITICAL, since, 9)
    assert [thread.remote for thread in threads.values()] == ["T-1"]
