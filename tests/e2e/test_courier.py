"""The courier: order, retries, dead notifications, fallback, refused recipients, workers."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts import alert_store, channel_health, outbox
from alerts.alert import Message, Reason
from alerts.channels import webhook
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from alerts.rules import Route
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import CHANNEL_UNDELIVERED
from store.opening import open_store
from tests.fixtures.notifications import Clock, Postbox, respond_with, smtp, with_email_channel

pytestmark = pytest.mark.usefixtures("any_state")


@pytest.fixture
def good(endpoint):
    return endpoint()


@pytest.fixture
def bad(endpoint):
    return endpoint(respond_with(500))


@pytest.fixture
def courier(tmp_path, good, bad):
    """A courier with a channel that delivers and one that fails, and a clock that the test sets."""
    store = open_store(tmp_path / "state.db")
    channels = {
        name: webhook.Webhook(webhook.Options(type="webhook", url=server.url), Sender("c"))
        for name, server in (("good", good), ("bad", bad))
    }
    routes = dict.fromkeys(Severity, ("good", "bad"))
    return Courier(store, channels, Policy(routes, instance="coop"), Clock())


def enqueue(courier, channel, severity=Severity.HIGH):
    message = Message(
        instance="coop",
        severity=severity,
        reason=Reason.OPENED,
        kind="orphans",
        type="MAINTENANCE_FAILURE",
        title="orphans: x",
        summary="7 rows",
        database="main",
        object="x",
        remedy="mend",
        occurred_at=datetime.now(UTC),
    )
    with courier.store.transaction() as transaction:
        return outbox.enqueue(transaction, message, channel, courier.clock())


def deliver_all(courier, channel):
    while courier.deliver_one(channel):
        pass


def record(courier, *findings, coverage=()):
    """Process findings to alerts; the notifications wait in the outbox."""
    with courier.store.transaction() as transaction:
        AlertProcessor(transaction, courier.policy, courier.clock()).process(findings, coverage)


def record_and_deliver(courier, *findings):
    record(courier, *findings)
    for name in courier.channels:
        deliver_all(courier, name)


def notified(server):
    """Return the notifications that an endpoint received."""
    return [json.loads(request["body"])["data"] for request in server.requests]


def test_failing_channel_does_not_delay_others_and_raises_an_alert(courier, good, bad):
    number = enqueue(courier, "bad")
    enqueue(courier, "good")
    assert courier.deliver_one("bad")
    assert courier.deliver_one("good")
    assert len(good.requests) == 1
    deadline = courier.clock.now + timedelta(hours=73)
    attempts = 1
    while courier.clock.now < deadline:
        courier.clock.now += timedelta(minutes=5)
        attempts += courier.deliver_one("bad")
    assert {request["headers"]["webhook-id"] for request in bad.requests} == {number}
    assert len(bad.requests) == attempts > 72
    assert courier.deliver_one("good")
    alert = notified(good)[-1]
    assert (alert["kind"], alert["object"]) == (CHANNEL_UNDELIVERED.name, "bad")
    with courier.store.reading() as transaction:
        assert outbox.load_state(transaction, number)[0] == "dead"
    bad.answer = respond_with(200, b"{}")
    enqueue(courier, "bad")
    assert courier.deliver_one("bad")
    assert courier.deliver_one("good")
    assert notified(good)[-1]["state"] == "resolved"


def test_permanent_failure_is_not_retried(courier, good, bad):
    bad.answer = respond_with(410)
    enqueue(courier, "bad")
    for _ in range(3):
        courier.deliver_one("bad")
        courier.clock.now += timedelta(hours=1)
    assert len(bad.requests) == 1
    courier.deliver_one("good")
    assert notified(good)[0]["kind"] == CHANNEL_UNDELIVERED.name


def test_retry_after_is_respected(courier, bad):
    bad.answer = respond_with(429, Retry_After="600")
    enqueue(courier, "bad")
    courier.deliver_one("bad")
    courier.clock.now += timedelta(seconds=599)
    assert not courier.deliver_one("bad")
    courier.clock.now += timedelta(seconds=3)
    assert courier.deliver_one("bad")


def test_highest_severity_is_delivered_first(courier, good):
    for severity in (Severity.INFO, Severity.HIGH, Severity.CRITICAL):
        enqueue(courier, "good", severity)
    deliver_all(courier, "good")
    assert [one["severity"] for one in notified(good)] == [
        "CRITICAL",
        "HIGH",
        "INFO",
    ]


def test_resolved_waits_for_opened_and_raised_severity_does_not(courier, good):
    """The first delivery is ambiguous: a raised severity overtakes it, resolved does not."""
    finding = Finding(Identity("orphans", object="x"), Severity.WARNING, "bad")
    good.answer = lambda *_: None
    coverage = [Coverage("orphans")]
    record(courier, finding, coverage=coverage)
    assert courier.deliver_one("good")
    record(courier, replace(finding, severity=Severity.CRITICAL), coverage=coverage)
    record(courier, coverage=coverage)
    good.answer = respond_with(200)
    for _ in range(3):  # critical: those before resolved are due at once
        assert courier.deliver_one("good")
    assert not courier.deliver_one("good")
    reasons = [one["reason"] for one in notified(good)]
    assert reasons == ["opened", "severity_raised", "opened", "resolved"]


def test_repeats_do_not_accumulate_while_a_channel_is_down(courier, good):
    good.answer = respond_with(500)
    finding = Finding(Identity("orphans", object="x"), Severity.CRITICAL, "bad")
    record(courier, finding)
    for _ in range(10):
        courier.clock.now += timedelta(hours=1)
        with courier.store.transaction() as transaction:
            AlertProcessor(transaction, courier.policy, courier.clock()).review()
    with courier.store.reading() as transaction:
        assert [one.channel for one in outbox.load_waiting(transaction)] == ["good", "bad"]


def test_notification_to_a_removed_channel_is_dead_and_raises_an_alert(courier, good):
    number = enqueue(courier, "renamed")
    courier.drain(10)
    with courier.store.reading() as transaction:
        assert outbox.load_state(transaction, number)[0] == "dead"
    (alert,) = notified(good)
    assert (alert["kind"], alert["object"]) == (CHANNEL_UNDELIVERED.name, "renamed")


def test_channel_alert_is_resolved_when_the_channel_is_removed(courier, bad, tmp_path):
    bad.answer = respond_with(404, b"")
    enqueue(courier, "bad")
    courier.deliver_one("bad")
    with courier.store.reading() as transaction:
        assert [alert.object for alert in alert_store.load_open(transaction)] == ["bad"]
    remaining = replace(courier, channels={"good": courier.channels["good"]})
    stop = threading.Event()
    workers = remaining.start(stop)
    stop.set()
    for worker in workers:
        worker.join()
    with courier.store.reading() as transaction:
        assert alert_store.load_open(transaction) == []


@pytest.mark.parametrize(
    "rules", [(), (Route(channels=("bad",)),)], ids=["by severity", "a rule for all"]
)
def test_critical_notification_uses_the_fallback_on_each_permanent_failure(
    courier, good, bad, rules
):
    bad.answer = respond_with(401)
    policy = Policy(
        {Severity.CRITICAL: ("bad",), Severity.HIGH: ("bad",)},
        instance="coop",
        rules=rules,
        fallback=("good",),
        channel_names=frozenset({"good", "bad"}),
    )
    courier = replace(courier, policy=policy)
    for name in "ab":
        record_and_deliver(
            courier, Finding(Identity("orphans", "coop", object=name), Severity.CRITICAL, "7 rows")
        )
        courier.clock.now += timedelta(minutes=1)
        record_and_deliver(courier)
    kinds = [one["kind"] for one in notified(good)]
    assert kinds.count("orphans") == 2
    assert CHANNEL_UNDELIVERED.name in kinds


@pytest.mark.parametrize("code", [401, 403, 407, 409])
def test_refused_credentials_raise_an_alert_at_once_and_lose_no_message(courier, good, bad, code):
    bad.answer = respond_with(code)
    enqueue(courier, "bad")
    deliver_all(courier, "bad")
    deliver_all(courier, "good")
    assert [one["kind"] for one in notified(good)] == [CHANNEL_UNDELIVERED.name]
    assert f"refuses every message: HTTP {code}" in str(notified(good)[0])
    bad.answer = respond_with(200)
    courier.clock.now += timedelta(hours=20)
    courier.rate_limits.clear()
    deliver_all(courier, "bad")
    assert "orphans" in {one["kind"] for one in notified(bad)}
    with courier.store.reading() as transaction:
        assert alert_store.load_open(transaction) == []


def test_acknowledged_alert_does_not_use_the_fallback(courier, good, bad):
    bad.answer = respond_with(503)
    courier = replace(
        courier, policy=Policy({Severity.CRITICAL: ("bad",)}, instance="coop", fallback=("good",))
    )
    record_and_deliver(
        courier, Finding(Identity("orphans", "coop", object="x"), Severity.CRITICAL, "7 rows")
    )
    with courier.store.transaction() as transaction:
        (alert,) = alert_store.load_open(transaction)
        AlertProcessor(transaction, courier.policy, courier.clock()).acknowledge(
            alert.id, Acknowledgement("ana")
        )
    courier.clock.now += timedelta(minutes=6)
    with courier.store.transaction() as transaction:
        channel_health.check_channels(transaction, courier.policy, courier.clock())
    record_and_deliver(courier)
    assert "orphans" not in [one["kind"] for one in notified(good)]


def test_temporary_recipient_refusal_is_retried_and_permanent_refusal_raises_alert(courier, good):
    postbox = Postbox()
    postbox.refuse = {
        "gone@example.org": "550 no such user",
        "grey@example.org": "451 try again later",
    }
    with smtp(postbox) as port:
        recipients = ("a@example.org", "gone@example.org", "grey@example.org")
        courier = with_email_channel(courier, port, *recipients)
        courier = replace(courier, policy=Policy({Severity.HIGH: ("good",)}))
        number = enqueue(courier, "bad")
        assert courier.deliver_one("bad")
        assert [recipients for _, recipients, _ in postbox.mails] == [["a@example.org"]]
        assert courier.deliver_one("good")
        alert = notified(good)[-1]
        assert (alert["kind"], alert["object"]) == ("recipient_refused", "bad: gone@example.org")
        assert not courier.deliver_one("bad")
        courier.clock.now += timedelta(minutes=5)
        del postbox.refuse["grey@example.org"]
        assert courier.deliver_one("bad")
        assert [recipients for _, recipients, _ in postbox.mails] == [
            ["a@example.org"],
            ["grey@example.org"],
        ]
        assert len({mail["Message-ID"] for mail, _, _ in postbox.mails}) == 1
        with courier.store.reading() as transaction:
            assert outbox.load_state(transaction, number)[0] == "sent"
        assert not courier.deliver_one("good")
        postbox.refuse.clear()
        enqueue(courier, "bad")
        assert courier.deliver_one("bad")
        assert courier.deliver_one("good")
    assert notified(good)[-1]["state"] == "resolved"


def test_full_mailbox_does_not_delay_other_recipients(courier):
    postbox = Postbox()
    postbox.refuse = {"full@example.org": "452 mailbox full"}
    finding = Finding(Identity("orphans", "coop", object="x"), Severity.CRITICAL, "7 rows")
    policy = Policy({Severity.CRITICAL: ("bad",)})
    with smtp(postbox) as port:
        courier = with_email_channel(courier, port, "a@example.org", "full@example.org")

        def record_and_deliver_bad(findings, coverage=()):
            with courier.store.transaction() as transaction:
                AlertProcessor(transaction, policy, courier.clock()).process(findings, coverage)
            deliver_all(courier, "bad")

        record_and_deliver_bad([finding])
        courier.clock.now += timedelta(hours=1)
        record_and_deliver_bad([finding])
        courier.clock.now += timedelta(minutes=1)
        record_and_deliver_bad([], [Coverage("orphans")])
    reasons = [mail["X-Sereno-Reason"] for mail, to, _ in postbox.mails if to == ["a@example.org"]]
    assert reasons == ["opened", "repeat", "resolved"]


def test_refused_recipient_alert_uses_its_own_channel_and_resolves_after_removal(courier):
    postbox = Postbox()
    postbox.refuse = {"gone@example.org": "550 no such user"}
    policy = Policy(dict.fromkeys(Severity, ("bad",)))
    with smtp(postbox) as port:
        courier = replace(
            with_email_channel(courier, port, "a@example.org", "gone@example.org"), policy=policy
        )
        enqueue(courier, "bad")
        deliver_all(courier, "bad")
        kinds = [mail["Subject"] for mail, to, _ in postbox.mails if to == ["a@example.org"]]
        assert any("recipient_refused" in kind for kind in kinds)
        courier = replace(
            with_email_channel(courier, port, "a@example.org", "new@example.org"), policy=policy
        )
        enqueue(courier, "bad")
        deliver_all(courier, "bad")
    with courier.store.reading() as transaction:
        assert alert_store.load_open(transaction) == []


def test_resolved_replaces_opened_still_pending_for_some_recipients(courier):
    postbox = Postbox()
    postbox.refuse = {"b@example.org": "451 later"}
    policy = Policy({Severity.HIGH: ("bad",)}, instance="coop")
    with smtp(postbox) as port:
        courier = replace(
            with_email_channel(courier, port, "a@example.org", "b@example.org"), policy=policy
        )
        finding = Finding(Identity("orphans", "coop", object="x"), Severity.HIGH, "7 rows")
        record_and_deliver(courier, finding)
        record(courier, coverage=[Coverage("orphans")])
        postbox.refuse.clear()
        assert courier.deliver_one("bad")
        courier.clock.now += timedelta(hours=1)
        assert not courier.deliver_one("bad")
    assert [(mail["X-Sereno-Reason"], len(to)) for mail, to, _ in postbox.mails] == [
        ("opened", 1),
        ("resolved", 2),
    ]


def test_worker_survives_an_unavailable_state(courier, good, wait, any_state, tmp_path):
    """The state is taken away and given back: the worker continues and delivers."""
    stop = threading.Event()
    worker = threading.Thread(target=courier.work, args=("good", stop), daemon=True)
    enqueue(courier, "good")
    any_state.take_away(tmp_path / "state.db")
    worker.start()
    try:
        stop.wait(0.3)
        assert worker.is_alive()
        any_state.give_back(tmp_path / "state.db")
        wait(lambda: good.requests, 40, "the message")
    finally:
        stop.set()
        courier.store.wakeup.ring()
        worker.join()


def test_notification_enqueued_by_another_process_is_delivered_promptly(
    courier, good, wait, tmp_path
):
    """One thread polls the state for all workers."""
    stop = threading.Event()
    workers = courier.start(stop)
    try:
        wait(lambda: courier.store.wakeup.times, 10, "the first poll of the file")
        enqueue(replace(courier, store=open_store(tmp_path / "state.db")), "good")
        wait(lambda: good.requests, 10, "the message")
    finally:
        stop.set()
        courier.store.wakeup.ring()
        for worker in workers:
            worker.join(1)
    assert not any(worker.is_alive() for worker in workers)


def test_worker_delivers_nothing_while_sent_alerts_are_not_recorded(courier, good, wait):
    enqueue(courier, "good")
    asked, stop = [], threading.Event()
    answers = iter([True, True, False])
    waiting = replace(courier, must_wait=lambda: asked.append(1) or next(answers, False))
    worker = threading.Thread(target=waiting.work, args=("good", stop), daemon=True)
    worker.start()
    wait(lambda: len(asked) == 2, what="the second look")
    assert good.requests == []
    wait(lambda: good.requests, what="the delivery")
    stop.set()
    courier.store.wakeup.ring()
    worker.join()


def test_receipt_that_can_never_be_stored_does_not_block_its_channel(courier, good, wait):
    stop = threading.Event()
    courier.unstored["good"] = lambda: int("not a number")
    enqueue(courier, "good")
    worker = threading.Thread(target=courier.work, args=("good", stop), daemon=True)
    worker.start()
    wait(lambda: good.requests, what="the delivery")
    stop.set()
    courier.store.wakeup.ring()
    worker.join()


def test_receipt_that_could_not_be_stored_is_stored_later(courier, good, wait, any_state, tmp_path):
    """The message is not sent again."""
    enqueue(courier, "good")
    stop, away = threading.Event(), threading.Event()
    accept = good.answer

    def take_the_state_away(number, request):
        any_state.take_away(tmp_path / "state.db")
        away.set()
        return accept(number, request)

    good.answer = take_the_state_away
    worker = threading.Thread(target=courier.work, args=("good", stop), daemon=True)
    worker.start()
    wait(lambda: away.is_set() and courier.unstored, 40, what="the receipt")
    any_state.give_back(tmp_path / "state.db")
    wait(lambda: not courier.unstored, 40, what="the record")
    stop.set()
    courier.store.wakeup.ring()
    worker.join()
    with courier.store.reading() as transaction:
        states = [row["state"] for row in transaction.rows("SELECT state FROM notification")]
    assert (states, len(good.requests)) == (["sent"], 1)
