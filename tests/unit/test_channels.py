"""Messages of the channels: escaping, limits, headers; redaction of secrets."""

import base64
import contextlib
import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Message, Notification, Reason
from alerts.channels import email, mail, slack, webhook
from alerts.channels.channel import DeliveryError, Sender
from alerts.message import from_json, to_json
from domain.finding import Severity
from domain.redaction import redact
from domain.secret import Secret

HOSTILE = "<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"
EMAIL_OPTIONS = email.Options(type="email", host="h", to=("a@example.org", "b@example.org"))
SLACK_OPTIONS = slack.Options(type="slack", token=Secret(env="X"), channel="#c", mention="U42")


def message(text=HOSTILE, severity=Severity.CRITICAL, reason=Reason.OPENED):
    clean = redact(text)
    return Message(
        instance="coop", severity=severity, reason=reason, kind="orphans", type="MAINTENANCE_FAILURE",
        title=f"orphans: {clean}", summary=clean, database="main", object=clean, remedy=clean,
        occurred_at=datetime(2026, 3, 1, 2, 5, tzinfo=UTC), alert=7, fingerprint="f" * 32, details={clean: clean},
        action_required=True,
    )  # fmt: skip


def notification(text=HOSTILE, thread="", **changes):
    return Notification(
        "0123456789abcdef", "c", message(text, **changes), datetime.now(UTC), thread=thread
    )


def compose_email(one):
    return mail.compose(
        one, EMAIL_OPTIONS.sender, ", ".join(EMAIL_OPTIONS.to), Sender("coop", "sereno@db1")
    )


texts = st.just(HOSTILE) | st.text(
    st.sampled_from("<>&!@|#\r\n:= x") | st.characters(), max_size=200
)


@given(texts)
def test_slack_payload_escapes_control_sequences(text):
    sent = slack.payload(notification(text), SLACK_OPTIONS)
    content = json.dumps(sent, ensure_ascii=False).replace("<@U42>", "")
    assert "<" not in content
    assert ">" not in content
    assert sent["metadata"]["event_payload"]["id"] == "0123456789abcdef"


@given(st.text("<>&x", min_size=2000, max_size=4000))
def test_slack_payload_respects_size_limits(text):
    sent = slack.payload(notification(text), SLACK_OPTIONS)
    assert len(sent["blocks"]) <= 50
    for block in sent["blocks"]:
        assert len(block.get("text", {}).get("text", "")) <= 3000
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", ()))


def test_slack_report_mentions_nobody():
    assert "<@U42>" not in json.dumps(
        slack.payload(notification(reason=Reason.REPORT), SLACK_OPTIONS)
    )


def test_slack_mentions_on_call_for_critical_only_and_resolves_in_thread():
    assert "<@U42>" in slack.payload(notification(), SLACK_OPTIONS)["text"]
    assert (
        "<@U42>" not in slack.payload(notification(severity=Severity.HIGH), SLACK_OPTIONS)["text"]
    )
    resolved = slack.payload(notification(reason=Reason.RESOLVED, thread="1.5"), SLACK_OPTIONS)
    assert "<@U42>" not in resolved["text"]
    assert resolved["thread_ts"] == "1.5"


@given(texts)
def test_email_has_only_expected_headers(text):
    from email import message_from_bytes, policy

    parsed = message_from_bytes(compose_email(notification(text)).as_bytes(), policy=policy.default)
    assert parsed["Bcc"] is None
    assert parsed["Message-ID"] == "<0123456789abcdef@localhost.localdomain>"
    assert set(parsed.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress", "List-Id",
        "X-Sereno-Severity", "X-Sereno-Reason", "Importance", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert "<b>x</b>" not in parsed.get_body(("html",)).get_content()


def test_email_subject_begins_with_severity_or_resolved_and_keeps_its_thread():
    first = compose_email(notification())
    last = compose_email(notification(reason=Reason.RESOLVED, thread=first["Message-ID"]))
    assert first["Subject"].startswith("[CRITICAL] sereno coop: ")
    assert last["Subject"] == first["Subject"].replace("[CRITICAL]", "[RESOLVED]")
    assert "(as sereno@db1)" in first.get_body(("plain",)).get_content()
    assert "acknowledge" not in last.get_body(("plain",)).get_content()
    assert last["In-Reply-To"] == last["References"] == first["Message-ID"]
    assert "RESOLVED" in last.get_body(("plain",)).get_content()


@pytest.mark.parametrize("address", ["a", "a@b\r\nBcc: c@d", "a b@c", "<a@b>", "a@b, c@d"])
def test_email_rejects_invalid_address(address):
    with pytest.raises(ValueError):
        email.Options(type="email", host="h", to=(address,))


def test_webhook_payload_has_ticket_fields():
    body = webhook.payload(notification())
    assert body["type"] == "alert.firing"
    assert {"severity", "type", "message", "details", "timestamp", "actionRequired"} <= body[
        "data"
    ].keys()
    assert (body["data"]["severity"], body["data"]["type"]) == ("CRITICAL", "MAINTENANCE_FAILURE")


def test_webhook_signature_matches_standard_webhooks():
    """Example of the specification (standard-webhooks, verifying-signatures)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published with the specification
    body = b'{"test": 2432232314}'
    signed = webhook.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert len(base64.b64decode(signed[3:])) == 32


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("https://x.example.org/a", True), ("http://127.0.0.1:9/a", True), ("http://[::1]/a", True),
        ("http://x.example.org/a", False), ("https://u:p@x.example.org", False), ("file:///etc/passwd", False), ("x", False),
    ],
)  # fmt: skip
def test_webhook_url_requires_https_unless_loopback(url, valid):
    if valid:
        assert webhook.Options(type="webhook", url=url).url == url
    else:
        with pytest.raises(ValueError):
            webhook.Options(type="webhook", url=url)


@given(texts)
def test_message_json_round_trip(text):
    assert from_json(to_json(message(text))) == message(text)


@given(st.text())
def test_redacted_text_is_one_line_without_control_characters(text):
    clean = redact(text)
    assert len(clean.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in clean} & {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Zl",
        "Zp",
    }


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("connection to postgresql://u:hunter2@db/x failed", "hunter2"),
        ("host=x password=hunter2 dbname=y", "hunter2"),
        ("password='hun ter2' x", "hun ter2"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("token xoxb-123-abc rejected", "xoxb-123-abc"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "T0/B0/xyz"),
        ("whsec_AAAA/+=", "whsec_AAAA"),
    ],
)
def test_redact_removes_secrets(text, secret):
    assert secret not in redact(text)
    assert "***" in redact(text)


def test_http_request_is_aborted_after_total_timeout(monkeypatch):
    """The server sends single bytes, so that only the total timeout applies."""
    import socket
    import threading
    import time

    from alerts.channels import http

    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def send_slowly():
        connection, _ = listener.accept()
        listener.close()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            for octet in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 1000:
                connection.send(bytes([octet]))
                time.sleep(0.05)

    server = threading.Thread(target=send_slowly, daemon=True)
    server.start()
    began = time.monotonic()
    with pytest.raises(DeliveryError):
        http.send(http.Request(f"http://127.0.0.1:{port}/", b"{}"))
    assert time.monotonic() - began < 3
    server.join(10)
