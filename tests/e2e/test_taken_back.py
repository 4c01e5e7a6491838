"""What waits in the outbox while the world goes on: silenced, acknowledged, given up, or too old."""

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
from store.store import open_store
from tests.e2e.test_delivery import Postbox, mailing, smtp

MINUTE = timedelta(minutes=1)


class House:
    """A good channel, and one that answers as a test says."""

    def __init__(self, folder, endpoint):
        self.now = datetime(2026, 3, 1, 2, tzinfo=UTC)
        self.good, self.bad = endpoint(), endpoint((503, {}, b"{}"))
        channels = {name: webhook.Webhook(webhook.Options(type="webhook", url=place.url), Sender("c")) for name, place in (("good", self.good), ("bad", self.bad))}  # fmt: skip
        policy = Policy(dict.fromkeys(Severity, ("bad",)), instance="coop", fallback=(), escalation_steps=(EscalationStep(after=30 * MINUTE, channels=("bad",)),), group_interval=5 * MINUTE, channel_names=frozenset(channels))  # fmt: skip
        self.courier = Courier(open_store(folder / "state.db"), channels, policy, lambda: self.now)

    def use(self, **changes):
        self.courier = replace(self.courier, policy=replace(self.courier.policy, **changes))

    def act(self, does):
        with self.courier.store.transaction() as transaction:
            return does(AlertProcessor(transaction, self.courier.policy, self.now), transaction)

    def look(self, *names, severity=Severity.HIGH):
        found = [
            Finding(Identity("orphans", object=name), severity, f"rows of {name}") for name in names
        ]
        self.act(lambda processor, _: processor.process(found))

    def owed(self):
        with self.courier.store.reading() as transaction:
            return [(one.channel, one.title, one.state) for one in outbox.load_waiting(transaction)]

    def alert(self, number):
        with self.courier.store.reading() as transaction:
            return alert_store.load_alert(transaction, number)

    def deliver(self, name):
        while self.courier.deliver_one(name):
            pass

    def told(self):
        """What the good channel was told."""
        return [json.loads(request["body"])["data"] for request in self.good.requests]


@pytest.fixture
def house(tmp_path, endpoint):
    return House(tmp_path, endpoint)


def test_a_silence_takes_back_what_waits_and_is_told_afterwards_if_it_is_still_so(house):
    house.look("a", "b")
    assert house.courier.deliver_one("bad")  # refused: nobody has it
    meant = Silence(Matcher(object="a"), "ana", "moving house", house.now, house.now + 60 * MINUTE)
    assert house.act(lambda processor, _: processor.silence(meant)) == 1
    assert [title for _, title, _ in house.owed()] == ["orphans: b"]
    assert "ana" in house.alert(1).suppressed_by
    house.now += 60 * MINUTE
    house.act(lambda processor, _: processor.review())
    assert sorted(title for _, title, _ in house.owed()) == ["orphans: a", "orphans: b"]


def test_what_may_have_been_taken_is_not_taken_back(house):
    house.bad.answer = lambda *_: None  # the line is dropped
    house.look("a")
    assert house.courier.deliver_one("bad")
    house.act(
        lambda processor, _: processor.silence(
            Silence(Matcher(), "ana", "x", house.now, house.now + MINUTE)
        )
    )
    assert len(house.owed()) == 1


def test_who_has_acknowledged_is_not_called_by_what_still_waits(house):
    house.look("a", severity=Severity.CRITICAL)
    house.now += 30 * MINUTE
    house.act(lambda processor, _: processor.review())
    assert len(house.owed()) == 2
    house.act(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana")))
    assert len(house.owed()) == 1
    assert house.alert(1).state is State.ACKNOWLEDGED


def test_a_button_changes_no_acknowledgement_made_before(house):
    house.look("a", severity=Severity.CRITICAL)
    until = house.now + 480 * MINUTE
    house.act(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana", until)))
    pressed = Acknowledgement("ben", takes_over=False)
    said = house.act(lambda processor, _: processor.acknowledge(1, pressed))
    assert said is Acknowledged.UNCHANGED
    assert (house.alert(1).acknowledged_by, house.alert(1).acknowledged_until) == ("ana", until)
    said = house.act(lambda processor, _: processor.acknowledge(1, Acknowledgement("ben")))
    assert (said, house.alert(1).acknowledged_by) == (Acknowledged.DONE, "ben")


def test_each_message_that_is_given_up_is_named_elsewhere_soon(house):
    house.bad.answer = lambda *_: (410, {}, b"{}")
    house.look("a", "b", "c")
    house.deliver("bad")
    house.deliver("good")
    (first,) = house.told()
    assert (first["kind"], first["details"]["not delivered"]) == (
        "channel_undelivered",
        "orphans: a",
    )
    house.now += 5 * MINUTE
    house.act(lambda processor, _: processor.review())
    house.deliver("good")
    assert house.told()[1]["details"]["not delivered"] == "orphans: a, orphans: b, orphans: c"


@pytest.mark.parametrize("act", ["silence", "acknowledge"])
def test_what_is_out_meanwhile_and_comes_back_is_taken_back_too(house, act):
    house.look("a", severity=Severity.CRITICAL)
    house.deliver("bad")
    house.now += 30 * MINUTE
    house.act(lambda processor, _: processor.review())
    meant = Silence(Matcher(object="a"), "ana", "moving house", house.now, house.now + 60 * MINUTE)

    def answer(*_):
        if act == "silence":
            house.act(lambda processor, _: processor.silence(meant))
        else:
            house.act(lambda processor, _: processor.acknowledge(1, Acknowledgement("ana")))
        return (503, {}, b"{}")

    house.bad.answer = answer
    assert house.courier.deliver_one("bad")
    with house.courier.store.reading() as transaction:
        left = transaction.rows("SELECT reason FROM notification WHERE state = 'pending'")
    assert [row["reason"] for row in left] == ([] if act == "silence" else ["opened"])


def test_only_what_a_silence_means_is_taken_back(house):
    house.look("a", "b")
    window = Silence(Matcher(object="b"), "ben", "window", house.now, house.now + 60 * MINUTE)
    house.use(windows=lambda _: (window,))
    house.act(
        lambda processor, _: processor.silence(
            Silence(Matcher(object="a"), "ana", "x", house.now, house.now + MINUTE)
        )
    )
    assert [title for _, title, _ in house.owed()] == ["orphans: b"]


def test_who_never_heard_of_it_does_not_hear_its_end(house):
    over = [Coverage("orphans")]
    house.look("a")
    house.act(lambda processor, _: processor.process([], over))
    house.now += MINUTE
    house.look("a")  # it fires again
    assert len(house.owed()) == 3
    house.act(
        lambda processor, _: processor.silence(
            Silence(Matcher(), "ana", "x", house.now, house.now + 60 * MINUTE)
        )
    )
    assert house.owed() == []


def test_a_correction_that_waits_keeps_no_repeat_back_and_calls_nobody_by_the_fallback(house):
    house.use(editing_channels=frozenset({"bad"}), fallback=("good",), escalation_steps=())
    house.bad.answer = lambda *_: (200, {}, b"{}")
    house.look("a", severity=Severity.CRITICAL)
    house.deliver("bad")
    house.bad.answer = lambda *_: (503, {}, b"{}")
    for severity in (Severity.HIGH, Severity.CRITICAL):
        house.now += MINUTE
        house.look("a", severity=severity)
        house.deliver("bad")
    house.now += 6 * MINUTE
    house.act(
        lambda teller, transaction: channel_health.check_channels(
            transaction, teller.policy, teller.now
        )
    )
    house.deliver("good")
    assert [(one["kind"], one["reason"]) for one in house.told()] == [("orphans", "opened"), ("channel_undelivered", "opened")]  # fmt: skip
    house.now += 60 * MINUTE
    house.act(lambda processor, _: processor.review())
    with house.courier.store.reading() as transaction:
        assert transaction.rows(
            "SELECT 1 FROM notification WHERE reason = 'repeat' AND channel = 'bad'"
        )


def test_another_name_of_the_instance_stops_no_message_from_being_given_up(house):
    house.bad.answer = lambda *_: (410, {}, b"{}")
    house.look("a")
    house.deliver("bad")
    house.use(instance="renamed")
    house.look("b")
    house.deliver("bad")
    assert [one for one in house.owed() if one[0] == "bad"] == []


def test_the_old_of_a_mail_that_some_take_later_is_given_up_and_the_young_is_tried_again(house):
    postbox = Postbox()
    postbox.refuse = {"full@example.org": "452 mailbox full"}
    with smtp(postbox) as port:
        house.courier = mailing(house.courier, port, "ana@example.org", "full@example.org")
        house.use(grouping_channels=frozenset({"bad"}))
        house.look("a")
        house.now += HORIZON - MINUTE
        house.look("b")
        house.now += 2 * MINUTE
        assert house.courier.deliver_one("bad")
        assert [title for _, title, _ in house.owed() if title.startswith("orphans")] == [
            "orphans: b"
        ]
        assert ("bad", "recipient_refused: bad: full@example.org", "pending") in house.owed()
        postbox.refuse.clear()
        house.now += 60 * MINUTE
        house.deliver("bad")
    assert ["full@example.org"] in [recipients for _, recipients, _ in postbox.mails]


def test_what_is_critical_and_owed_to_a_channel_that_is_gone_goes_by_the_fallback(house):
    house.look("a", severity=Severity.CRITICAL)
    channels = {"good": house.courier.channels["good"]}
    house.courier = replace(house.courier, channels=channels)
    house.use(channel_names=frozenset(channels), fallback=("good",))
    house.courier.drain(5)
    assert [(one["kind"], one["object"]) for one in house.told()] == [
        ("orphans", "a"),
        ("channel_undelivered", "bad"),
    ]
    assert house.told()[1]["remedy"].startswith("nothing if it was removed on purpose")


def test_only_what_is_older_than_the_horizon_is_given_up(house):
    house.use(grouping_channels=frozenset({"bad"}))
    house.look("a")
    house.now += HORIZON - MINUTE
    house.look("b")
    house.now += 2 * MINUTE
    assert house.courier.deliver_one("bad")  # both in one message
    assert [title for channel, title, _ in house.owed() if channel == "bad"] == ["orphans: b"]
    with house.courier.store.reading() as transaction:
        (given_up,) = transaction.rows("SELECT * FROM notification WHERE state = 'dead'")
    assert given_up["alert"] == 1
