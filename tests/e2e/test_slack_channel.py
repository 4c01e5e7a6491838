"""The Slack channel against a real HTTP server: bot, incoming webhook, failures."""

import json
from urllib.parse import parse_qs

import pytest

from alerts.alert import Reason
from alerts.channels import slack
from alerts.channels.channel import DeliveryError, Failure, Sender
from domain.secret import Secret
from tests.fixtures.notifications import respond_with
from tests.fixtures.secrets import write_secret


def bot_channel(server, tmp_path):
    write_secret(tmp_path / "token", "xoxb-canary")
    return slack.Slack(
        slack.Options(
            type="slack",
            token=Secret(file=tmp_path / "token"),
            channel="#c",
            api_url=server.url + "/api/",
        ),
        Sender("c"),
    )


def test_slack_bot_posts_a_message(endpoint, notify, tmp_path):
    server = endpoint()
    assert bot_channel(server, tmp_path).deliver(notify()).remote == "C9:1.1"
    (request,) = server.requests
    assert (request["path"], request["headers"]["authorization"]) == (
        "/api/chat.postMessage",
        "Bearer xoxb-canary",
    )
    body = (
        json.loads(request["body"])
        if request["body"][:1] == b"{"
        else {k: v[0] for k, v in parse_qs(request["body"].decode()).items()}
    )
    assert body["channel"] == "#c"


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (
            respond_with(429, b'{"ok": false, "error": "ratelimited"}', Retry_After="30"),
            Failure.THROTTLED,
            30.0,
        ),
        (
            respond_with(200, b'{"ok": false, "error": "message_limit_exceeded"}'),
            Failure.THROTTLED,
            None,
        ),
        (respond_with(200, b'{"ok": false, "error": "invalid_auth"}'), Failure.CHANNEL, None),
        (respond_with(200, b'{"ok": false, "error": "msg_too_long"}'), Failure.PERMANENT, None),
        (respond_with(200, b'{"ok": false, "error": "internal_error"}'), Failure.TRANSIENT, None),
        (respond_with(503, b"upstream"), Failure.TRANSIENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)
def test_slack_bot_failure_is_classified_by_response(
    endpoint, notify, tmp_path, answer, failure, after
):
    server = endpoint(answer)
    with pytest.raises(DeliveryError) as caught:
        bot_channel(server, tmp_path).deliver(notify())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)
    assert len(server.requests) == 1
    assert "canary" not in str(caught.value)


def incoming_webhook(server, tmp_path):
    write_secret(tmp_path / "hook", server.url + "/services/T0/B0/canary\n")
    return slack.Slack(slack.Options(type="slack", url=Secret(file=tmp_path / "hook")), Sender("c"))


def test_slack_incoming_webhook_posts_text_and_blocks(endpoint, notify, tmp_path):
    server = endpoint(respond_with(200, b"ok"))
    channel = incoming_webhook(server, tmp_path)
    assert channel.deliver(notify()).remote == ""
    channel.deliver(notify(reason=Reason.RESOLVED, thread="1.1"))
    first, second = (json.loads(request["body"]) for request in server.requests)
    assert server.requests[0]["path"] == "/services/T0/B0/canary"
    assert first.keys() == second.keys() == {"text", "blocks", "unfurl_links", "unfurl_media"}
    assert "resolved" in second["text"]


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (respond_with(404, b"no_service"), Failure.CHANNEL, None),
        (respond_with(403, b"action_prohibited"), Failure.CHANNEL, None),
        (respond_with(400, b"invalid_payload"), Failure.PERMANENT, None),
        (respond_with(429, b"rate_limited", Retry_After="7"), Failure.THROTTLED, 7.0),
        (respond_with(500, b"rollup_error"), Failure.AMBIGUOUS, None),
        (respond_with(200, b"<html>a proxy's page</html>"), Failure.TRANSIENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)
def test_slack_incoming_webhook_failure_is_classified_by_response(
    endpoint, notify, tmp_path, answer, failure, after, caplog
):
    server = endpoint(answer)
    with pytest.raises(DeliveryError) as caught:
        incoming_webhook(server, tmp_path).deliver(notify())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)
    assert len(server.requests) == 1
    assert "canary" not in str(caught.value) + caplog.text


def test_slack_options_require_either_bot_or_webhook_over_https(notify, tmp_path):
    secret = Secret(file=tmp_path / "hook")
    for invalid in (
        {"url": secret, "token": secret, "channel": "#c"},
        {},
        {"token": secret},
        {"url": secret, "channel": "#c"},
    ):
        with pytest.raises(ValueError, match="incoming webhook"):
            slack.Options(type="slack", **invalid)
    write_secret(tmp_path / "hook", "http://hooks.example.org/services/x")
    with pytest.raises(DeliveryError, match="not https"):
        slack.Slack(slack.Options(type="slack", url=secret), Sender("c")).deliver(notify())
