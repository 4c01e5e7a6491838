"""Pending notifications: withdrawn by silences and acknowledgements, given up, expired."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts import alert_store, channel_health, outbox
from alerts.alert import State
from alerts.channels import webhook
from alerts.channels.channel import Sender
from alerts.courier import HORIZON, Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy, Silence
from alerts.processor import Acknowledged, AlertProcessor
from alerts.rules import EscalationStep, Matcher
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from store.opening import open_store
from tests.fixtures.notifications import Postbox, smtp, with_email_channel

pytestmark = pytest.mark.usefixtures("any_state")

MINUTE = timedelta(minutes=1)


class Alerting:
    """A courier with a channel that delivers and one that fails, and a clock that the test sets."""

    def __init__(self, folder, endpoint):
        self.now = datetime(2026, 3, 1, 2, tzinfo=UTC)
        self.good, self.bad = endpoint(), endpoint((503, {}, b"{}"))
        channels = {
            name: webhook.Webhook(webhook.Options(type="webhook", url=server.url), Sender("c"))
            for name, server in (("good", self.good), ("bad", self.bad))
        }
        policy = Policy(
            dict.fromkeys(Severity, ("bad",)),
            instance="coop",
            fallback=(),
            escalation_steps=(EscalationStep(after=30 * MINUTE, channels=("bad",)),),
            group_interval=5 * MINUTE,
            channel_names=frozenset(channels),
        )
        self.courier = Courier(open_store(folder / "state.db"), channels, policy, lambda: self.now)

    def change_policy(self, **changes):
        self.courier = replace(self.courier, policy=replace(self.courier.policy, **changes))

    def apply(self, action):
        with self.courier.store.transaction() as transaction:
            return action(AlertProcessor(transaction, self.courier.policy, self.now), transaction)

    def record(self, *names, severity=Severity.HIGH):
        found = [
            Finding(Identity("orphans", object=name), severity, f"rows of {name}") for name in names
        ]
        self.apply(lambda processor, _: processor.process(found))

    def pending(self):
        with self.courier.store.reading() as transaction:
            return [(one.channel, one.title, one.state) for one in outbox.load_waiting(transaction)]

    def alert(self, number):
        with self.courier.store.reading() as transaction:
            return alert_store.load_alert(transaction, number)

    def deliver(self, name):
        while self.courier.deliver_one(name):
            pass

    def notified(self):
        """Return the notifications that the channel `good` received."""
        return [json.loads(request["body"])["data"] for request in self.good.requests]


@pytest.fixture
def alerting(tmp_path, endpoint):
    return Alerting(tmp_path, endpoint)


def test_silence_withdraws_pending_notifications_until_it_ends(alerting):
    alerting.record("a", "b")
    assert alerting.courier.deliver_one("bad")  # refused, so not delivered
    silence = Silence(
        Matcher(object="a"), "ana", "moving house", alerting.now, alerting.now + 60 * MINUTE
    )
    assert alerting.apply(lambda processor, _: processor.silence(silence)) == 1
    assert [title for _, title, _ in alerting.pending()] == ["orphans: b"]
    assert "ana" in alerting.alert(1).suppressed_by
    alerting.now += 60 * MINUTE
    alerting.apply(lambda processor, _: processor.review())
    assert sorted(title for _, title, _ in alerting.pending()) == ["orphans: a", "orphans: b"]


def test_silence_keeps_a_notification_of_ambiguous_delivery(alerting):
    alerting.bad.answer = lambda *_: None  # the connection is dropped
    alerting.record("a")
    assert alerting.courier.deliver_one("bad")
    alerting.apply(
        lambda processor, _: processor.silence(
            Silence(Matcher(), "ana", "x", alerting.now, alerting.now + MINUTE)
        )
    )
    assert len(alerting.pending()) == 1


def test_acknowledgement_withdraws_a_pending_escalation(alerting):
    alerting.record("a", severity=Severity.CRITICAL)
    alerting.now += 30 * MINUTE
    alerting.apply(lambda processor, _: processor.review())
    assert len(alerting.pending()) == 2
    alerting.apply(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana")))
    assert len(alerting.pending()) == 1
    assert alerting.alert(1).state is State.ACKNOWLEDGED


def test_button_does_not_take_over_an_acknowledgement(alerting):
    alerting.record("a", severity=Severity.CRITICAL)
    until = alerting.now + 480 * MINUTE
    alerting.apply(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana", until)))
    pressed = Acknowledgement("ben", takes_over=False)
    result = alerting.apply(lambda processor, _: processor.acknowledge(1, pressed))
    assert result is Acknowledged.UNCHANGED
    assert (alerting.alert(1).acknowledged_by, alerting.alert(1).acknowledged_until) == (
        "ana",
        until,
    )
    result = alerting.apply(lambda processor, _: processor.acknowledge(1, Acknowledgement("ben")))
    assert (result, alerting.alert(1).acknowledged_by) == (Acknowledged.DONE, "ben")


def test_undelivered_alert_lists_every_dead_notification(alerting):
    alerting.bad.answer = lambda *_: (410, {}, b"{}")
    alerting.record("a", "b", "c")
    alerting.deliver("bad")
    alerting.deliver("good")
    (first,) = alerting.notified()
    assert (first["kind"], first["details"]["not delivered"]) == (
        "channel_undelivered",
        "orphans: a",
    )
    alerting.now += 5 * MINUTE
    alerting.apply(lambda processor, _: processor.review())
    alerting.deliver("good")
    assert (
        alerting.notified()[1]["details"]["not delivered"] == "orphans: a, orphans: b, orphans: c"
    )


@pytest.mark.parametrize("action", ["silence", "acknowledge"])
def test_notification_failing_in_flight_is_withdrawn_afterwards(alerting, action):
    alerting.record("a", severity=Severity.CRITICAL)
    alerting.deliver("bad")
    alerting.now += 30 * MINUTE
    alerting.apply(lambda processor, _: processor.review())
    silence = Silence(
        Matcher(object="a"), "ana", "moving house", alerting.now, alerting.now + 60 * MINUTE
    )

    def answer(*_):
        if action == "silence":
            alerting.apply(lambda processor, _: processor.silence(silence))
        else:
            alerting.apply(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana")))
        return (503, {}, b"{}")

    alerting.bad.answer = answer
    assert alerting.courier.deliver_one("bad")
    with alerting.courier.store.reading() as transaction:
        pending = transaction.rows("SELECT reason FROM notification WHERE state = 'pending'")
    assert [row["reason"] for row in pending] == ([] if action == "silence" else ["opened"])


def test_silence_withdraws_only_matching_notifications(alerting):
    alerting.record("a", "b")
    window = Silence(Matcher(object="b"), "ben", "window", alerting.now, alerting.now + 60 * MINUTE)
    alerting.change_policy(windows=lambda _: (window,))
    alerting.apply(
        lambda processor, _: processor.silence(
            Silence(Matcher(object="a"), "ana", "x", alerting.now, alerting.now + MINUTE)
        )
    )
    assert [title for _, title, _ in alerting.pending()] == ["orphans: b"]


def test_silence_withdraws_resolved_when_opened_was_never_delivered(alerting):
    coverage = [Coverage("orphans")]
    alerting.record("a")
    alerting.apply(lambda processor, _: processor.process([], coverage))
    alerting.now += MINUTE
    alerting.record("a")
    assert len(alerting.pending()) == 3
    alerting.apply(
        lambda processor, _: processor.silence(
            Silence(Matcher(), "ana", "x", alerting.now, alerting.now + 60 * MINUTE)
        )
    )
    assert alerting.pending() == []


def test_pending_edit_does_not_block_repeats_or_use_the_fallback(alerting):
    alerting.change_policy(
        editing_channels=frozenset({"bad"}), fallback=("good",), escalation_steps=()
    )
    alerting.bad.answer = lambda *_: (200, {}, b"{}")
    alerting.record("a", severity=Severity.CRITICAL)
    alerting.deliver("bad")
    alerting.bad.answer = lambda *_: (503, {}, b"{}")
    for severity in (Severity.HIGH, Severity.CRITICAL):
        alerting.now += MINUTE
        alerting.record("a", severity=severity)
        alerting.deliver("bad")
    alerting.now += 6 * MINUTE
    alerting.apply(
        lambda processor, transaction: channel_health.check_channels(
            transaction, processor.policy, processor.now
        )
    )
    alerting.deliver("good")
    assert [(one["kind"], one["reason"]) for one in alerting.notified()] == [
        ("orphans", "opened"),
        ("channel_undelivered", "opened"),
    ]
    alerting.now += 60 * MINUTE
    alerting.apply(lambda processor, _: processor.review())
    with alerting.courier.store.reading() as transaction:
        assert transaction.rows(
            "SELECT 1 FROM notification WHERE reason = 'repeat' AND channel = 'bad'"
        )


def test_renamed_instance_does_not_keep_undeliverable_notifications(alerting):
    alerting.bad.answer = lambda *_: (410, {}, b"{}")
    alerting.record("a")
    alerting.deliver("bad")
    alerting.change_policy(instance="renamed")
    alerting.record("b")
    alerting.deliver("bad")
    assert [one for one in alerting.pending() if one[0] == "bad"] == []


def test_partly_delivered_mail_drops_expired_alerts_and_retries_recent_ones(alerting):
    postbox = Postbox()
    postbox.refuse = {"full@example.org": "452 mailbox full"}
    with smtp(postbox) as port:
        alerting.courier = with_email_channel(
            alerting.courier, port, "ana@example.org", "full@example.org"
        )
        alerting.change_policy(grouping_channels=frozenset({"bad"}))
        alerting.record("a")
        alerting.now += HORIZON - MINUTE
        alerting.record("b")
        alerting.now += 2 * MINUTE
        assert alerting.courier.deliver_one("bad")
        assert [title for _, title, _ in alerting.pending() if title.startswith("orphans")] == [
            "orphans: b"
        ]
        assert ("bad", "recipient_refused: bad: full@example.org", "pending") in alerting.pending()
        postbox.refuse.clear()
        alerting.now += 60 * MINUTE
        alerting.deliver("bad")
    assert ["full@example.org"] in [recipients for _, recipients, _ in postbox.mails]


def test_critical_notification_to_a_removed_channel_uses_the_fallback(alerting):
    alerting.record("a", severity=Severity.CRITICAL)
    channels = {"good": alerting.courier.channels["good"]}
    alerting.courier = replace(alerting.courier, channels=channels)
    alerting.change_policy(channel_names=frozenset(channels), fallback=("good",))
    alerting.courier.drain(5)
    assert [(one["kind"], one["object"]) for one in alerting.notified()] == [
        ("orphans", "a"),
        ("channel_undelivered", "bad"),
    ]
    assert alerting.notified()[1]["remedy"].startswith("nothing if it was removed on purpose")


def test_only_notifications_older_than_the_horizon_are_given_up(alerting):
    alerting.change_policy(grouping_channels=frozenset({"bad"}))
    alerting.record("a")
    alerting.now += HORIZON - MINUTE
    alerting.record("b")
    alerting.now += 2 * MINUTE
    assert alerting.courier.deliver_one("bad")  # one message with both alerts
    assert [title for channel, title, _ in alerting.pending() if channel == "bad"] == ["orphans: b"]
    with alerting.courier.store.reading() as transaction:
        (given_up,) = transaction.rows("SELECT * FROM notification WHERE state = 'dead'")
    assert given_up["alert"] == 1
