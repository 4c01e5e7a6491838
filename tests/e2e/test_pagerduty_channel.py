"""The PagerDuty channel: event actions, deduplication key, failures."""

import json

import pytest

from alerts.alert import Reason
from alerts.channels import pagerduty
from alerts.channels.channel import DeliveryError, Failure, Sender
from domain.finding import Severity
from domain.secret import Secret
from tests.fixtures.secrets import write_secret


@pytest.fixture
def secret(tmp_path):
    write_secret(tmp_path / "secret", "canary-token")
    return Secret(file=tmp_path / "secret")


def test_pagerduty_event_action_follows_the_reason(endpoint, secret, notify):
    server = endpoint((202, {}, b'{"status":"success"}'))
    channel = pagerduty.PagerDuty(
        pagerduty.Options(type="pagerduty", url=server.url, routing_key=secret), Sender("coop")
    )
    for reason in (
        Reason.OPENED,
        Reason.ACKNOWLEDGED,
        Reason.REPEATED,
        Reason.RESOLVED,
        Reason.CHANNEL_TEST,
    ):
        channel.deliver(
            notify(
                reason=reason, fingerprint="f" * 32, summary="x" * 2000, severity=Severity.CRITICAL
            )
        )
    events = [json.loads(request["body"]) for request in server.requests]
    assert [one["event_action"] for one in events] == [
        "trigger",
        "acknowledge",
        "trigger",
        "resolve",
        "trigger",
        "resolve",
    ]
    assert {one["dedup_key"] for one in events} == {"f" * 32}
    assert events[0]["routing_key"] == "canary-token"
    assert (events[0]["payload"]["severity"], len(events[0]["payload"]["summary"])) == (
        "critical",
        1024,
    )


@pytest.mark.parametrize(
    ("status", "failure"),
    [(400, Failure.PERMANENT), (429, Failure.THROTTLED), (500, Failure.AMBIGUOUS)],
)
def test_pagerduty_failure_is_classified_by_status(endpoint, secret, notify, status, failure):
    server = endpoint((status, {}, b'{"message":"canary-token is invalid"}'))
    channel = pagerduty.PagerDuty(
        pagerduty.Options(type="pagerduty", url=server.url, routing_key=secret), Sender("c")
    )
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert caught.value.failure is failure
    assert "canary" not in str(caught.value)
