"""Slack threads against a fake with Slack's limits: edits, replies, digests, duplicates."""

import json
from datetime import timedelta

import pytest

from alerts.channels import slack
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.secret import Secret
from store.opening import open_store
from tests.faults.slack_stand_in import SlackStandIn
from tests.fixtures.notifications import Clock
from tests.fixtures.secrets import write_secret

pytestmark = pytest.mark.usefixtures("any_state")


class Alerting:
    """A courier with one Slack channel, which posts to a fake Slack."""

    def __init__(self, folder, **options):
        self.slack = SlackStandIn(0.0)
        write_secret(folder / "token", "xoxb-canary")
        write_secret(folder / "app", "xapp-canary")
        values = {
            "token": Secret(file=folder / "token"),
            "app_token": Secret(file=folder / "app"),
            "channel": "#ops",
            "mention": "S42",
            **options,
        }
        channel = slack.Slack(
            slack.Options(type="slack", api_url=self.slack.url, **values), Sender("coop")
        )
        channels = {"slack": channel}
        policy = Policy(
            dict.fromkeys(Severity, ("slack",)),
            instance="coop",
            grouping_channels=frozenset(channels),
            acknowledging_channels=frozenset(channels),
            editing_channels=frozenset(channels),
        )
        self.courier = Courier(
            open_store(folder / "state.db"), channels, policy, Clock(), ignore_grouping=True
        )

    def record(self, *findings):
        """Process all findings of the check, deliver, and return the messages in Slack."""
        with self.courier.store.transaction() as transaction:
            AlertProcessor(transaction, self.courier.policy, self.courier.clock()).process(
                findings, [Coverage("orphans")]
            )
        return self.deliver()

    def deliver(self):
        while self.courier.deliver_one("slack"):
            pass
        return self.slack.messages


@pytest.fixture
def make_alerting(tmp_path):
    created = []

    def make(**options):
        created.append(Alerting(tmp_path, **options))
        return created[-1]

    yield make
    for one in created:
        one.slack.close()


def finding(name="a", severity=Severity.HIGH):
    return Finding(
        Identity("orphans", "coop", database="main", object=f"public.{name}"),
        severity,
        f"7 rows of {name}",
    )


def blocks(message):
    return json.dumps(message["blocks"], ensure_ascii=False)


def test_first_message_is_edited_and_updates_are_posted_in_its_thread(make_alerting):
    alerting = make_alerting()
    (first,) = alerting.record(finding())
    assert "<!subteam^S42>" not in first["text"]
    assert '"action_id": "acknowledge"' in blocks(first)
    alerting.courier.clock.now += timedelta(minutes=1)
    _, raised = alerting.record(finding(severity=Severity.CRITICAL))
    assert (raised["thread_ts"], raised["broadcast"]) == (first["ts"], True)
    assert "<!subteam^S42>" in raised["text"]
    assert "critical" in first["text"]
    _, _, resolved = alerting.record()
    assert (resolved["thread_ts"], resolved["broadcast"]) == (first["ts"], False)
    assert "resolved" in first["text"]
    assert "acknowledge" not in blocks(first)


def test_lowered_severity_only_edits_the_first_message(make_alerting):
    alerting = make_alerting()
    (first,) = alerting.record(finding(severity=Severity.CRITICAL))
    alerting.courier.clock.now += timedelta(minutes=1)
    assert len(alerting.record(finding(severity=Severity.WARNING))) == 1
    assert "warning" in blocks(first)
    assert "critical" not in blocks(first)
    # Not above the severity notified before: still no new message.
    assert len(alerting.record(finding(severity=Severity.CRITICAL))) == 1
    assert "critical" in blocks(first)


def test_reopened_alert_is_posted_in_the_same_thread(make_alerting):
    alerting = make_alerting()
    first = alerting.record(finding())[0]
    alerting.courier.clock.now += timedelta(hours=1)
    alerting.record()
    alerting.courier.clock.now += timedelta(hours=30)
    reopened = alerting.record(finding())[-1]
    assert (reopened["thread_ts"], reopened["broadcast"]) == (first["ts"], True)
    assert "firing again" in blocks(reopened)
    assert "resolved" not in first["text"]


def test_acknowledgement_is_shown_in_the_first_message(make_alerting):
    alerting = make_alerting()
    (first,) = alerting.record(finding(severity=Severity.CRITICAL))

    with alerting.courier.store.transaction() as transaction:
        AlertProcessor(transaction, alerting.courier.policy, alerting.courier.clock()).acknowledge(
            1, Acknowledgement("ana <!here>")
        )
    alerting.deliver()
    assert "ana &lt;!here&gt;" in blocks(first)
    assert '"action_id"' not in blocks(first)


def test_hundred_alerts_are_one_message_that_names_each(make_alerting):
    alerting = make_alerting()
    (digest,) = alerting.record(*(finding(f"t{number}") for number in range(100)))
    assert all(f"public.t{number}*" in blocks(digest) for number in range(100))
    assert "100 alerts" in digest["text"]
    _, resolved = alerting.record(*(finding(f"t{number}") for number in range(40)))
    assert resolved["thread_ts"] == digest["ts"]
    assert "60 alerts" in resolved["text"]
    assert blocks(digest).count("✅") == 60
    assert digest["edits"] == 1
    assert alerting.slack.broken == []


def test_thousand_alerts_are_one_message_that_counts_the_rest(make_alerting):
    alerting = make_alerting()
    (digest,) = alerting.record(*(finding(f"t{number}" * 20) for number in range(1000)))
    assert "1000 alerts" in digest["text"]
    assert "orphans. All: sereno alerts list" in blocks(digest)
    assert alerting.slack.broken == []


def test_message_accepted_with_a_lost_response_is_not_posted_again(make_alerting):
    alerting = make_alerting(channel="C0SERENO")
    alerting.slack.drop = 1
    (first,) = alerting.record(finding())
    alerting.courier.clock.now += timedelta(minutes=5)
    assert len(alerting.deliver()) == 1
    _, resolved = alerting.record()
    assert resolved["thread_ts"] == first["ts"]


@pytest.mark.parametrize("channel_id", [True, False])
def test_unverifiable_delivery_is_repeated_as_a_second_copy_with_the_same_id(
    make_alerting, channel_id
):
    alerting = make_alerting(channel="C0SERENO" if channel_id else "#ops")
    alerting.slack.history = not channel_id
    alerting.slack.drop = 1
    alerting.record(finding())
    alerting.courier.clock.now += timedelta(minutes=5)
    first, second = alerting.deliver()
    assert first["id"] == second["id"]
    assert "second copy" in blocks(second)


def test_thread_reply_with_a_lost_response_is_not_posted_again(make_alerting):
    alerting = make_alerting()
    alerting.record(finding())
    alerting.slack.drop = 1
    alerting.record()
    alerting.courier.clock.now += timedelta(minutes=5)
    assert len(alerting.deliver()) == 2


@pytest.mark.parametrize(
    "error", ["message_not_found", "cant_update_message", "edit_window_closed"]
)
def test_failed_edit_does_not_block_the_thread_reply(make_alerting, error, monkeypatch):
    alerting = make_alerting()
    alerting.record(finding())
    monkeypatch.setattr(
        alerting.slack, "_update", lambda _values: (200, {}, {"ok": False, "error": error})
    )
    assert len(alerting.record()) == 2


def test_throttled_edit_is_completed_before_the_thread_reply(make_alerting, monkeypatch):
    alerting = make_alerting()
    alerting.record(finding())
    update = alerting.slack._update
    throttled = (429, {"Retry-After": "3"}, {"ok": False, "error": "ratelimited"})
    monkeypatch.setattr(alerting.slack, "_update", lambda _values: throttled)
    assert len(alerting.record()) == 1
    monkeypatch.setattr(alerting.slack, "_update", update)
    alerting.courier.clock.now += timedelta(seconds=5)
    first, resolved = alerting.deliver()
    assert resolved["thread_ts"] == first["ts"]
    assert "resolved" in first["text"]


def test_rejected_digest_is_delivered_as_single_messages(make_alerting):
    alerting = make_alerting()
    alerting.slack.fail = [(200, {}, {"ok": False, "error": "invalid_blocks"})]
    messages = alerting.record(finding("a"), finding("b"), finding("c"))
    assert len(messages) == 3
    assert {"a", "b", "c"} == {one["text"].rpartition(" ")[2] for one in messages}


def test_alerts_resolved_during_an_outage_are_listed_in_one_delayed_digest(make_alerting):
    alerting = make_alerting()
    alerting.slack.fail = [(503, {}, {})] * 3
    alerting.record(finding("a"), finding("b"))
    alerting.courier.clock.now += timedelta(minutes=20)
    alerting.record(finding("a"))
    alerting.courier.clock.now += timedelta(minutes=20)
    alerting.record(finding("a"), finding("c"))
    alerting.courier.clock.now += timedelta(minutes=20)
    (digest,) = alerting.deliver()
    assert "delayed by 60 min" in blocks(digest)
    assert "fired 02:00, resolved 02:20" in blocks(digest)
    assert "3 alerts" in digest["text"]


def test_digest_after_an_outage_updates_the_existing_threads(make_alerting):
    alerting = make_alerting()
    first = alerting.record(finding("a"))[0]
    second = alerting.record(finding("a"), finding("b"))[1]
    alerting.slack.fail = [(503, {}, {})] * 9
    alerting.record(finding("b"))
    alerting.courier.clock.now += timedelta(minutes=30)
    alerting.record(finding("c"))
    alerting.courier.clock.now += timedelta(minutes=30)
    alerting.slack.fail.clear()
    digest = alerting.deliver()[-1]
    assert (len(alerting.slack.messages), digest["thread_ts"]) == (3, None)
    assert "resolved" in first["text"]
    assert "resolved" in second["text"]
    alerting.record()
    assert alerting.slack.messages[-1]["thread_ts"] == digest["ts"]


def test_mention_depends_on_the_severity(make_alerting):
    alerting = make_alerting(mentions={Severity.HIGH: "U7"})
    high = alerting.record(finding("a"))[0]
    critical = alerting.record(finding("a"), finding("b", Severity.CRITICAL))[1]
    assert "<@U7>" in high["text"]
    assert "<!subteam^S42>" in critical["text"]


def test_app_token_requires_a_bot_token(tmp_path):
    with pytest.raises(ValueError, match="app_token"):
        slack.Options(type="slack", url=Secret(env="X"), app_token=Secret(env="Y"))


def test_deleted_thread_is_replaced_by_a_new_message(make_alerting):
    alerting = make_alerting()
    alerting.record(finding())
    alerting.slack.fail = [(200, {}, {"ok": False, "error": "thread_not_found"})]
    raised = alerting.record(finding(severity=Severity.CRITICAL))[-1]
    assert raised["thread_ts"] is None
    assert alerting.record()[-1]["thread_ts"] == raised["ts"]


def test_digest_keeps_alerts_in_their_threads(make_alerting):
    alerting = make_alerting()
    first = alerting.record(finding("a"))[0]
    second = alerting.record(finding("a"), finding("b"))[1]
    alerting.slack.fail = [(503, {}, {})] * 9
    alerting.record(finding("a", Severity.CRITICAL), finding("b", Severity.CRITICAL))
    alerting.courier.clock.now += timedelta(minutes=30)
    alerting.record(finding("a", Severity.CRITICAL), finding("b", Severity.CRITICAL), finding("c"))
    alerting.courier.clock.now += timedelta(minutes=30)
    alerting.slack.fail.clear()
    alerting.deliver()
    assert "critical" in first["text"]
    assert "critical" in second["text"]
    alerting.record()
    assert "resolved" in first["text"]
    assert "resolved" in second["text"]
