"""What each channel would say: escaped, within limits, the same id on every copy."""

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
from alerts.channels.channel import DeliveryError
from alerts.message import from_json, to_json
from domain.finding import Severity
from domain.redaction import redact
from domain.secret import Secret

HOSTILE = "<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"
MAIL = email.Options(type="email", host="h", to=("a@example.org", "b@example.org"))
CHAT = slack.Options(type="slack", token=Secret(env="X"), channel="#c", mention="U42")


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


def compose_mail(one):
    return mail.compose(one, MAIL.sender, ", ".join(MAIL.to), "coop")


texts = st.just(HOSTILE) | st.text(
    st.sampled_from("<>&!@|#\r\n:= x") | st.characters(), max_size=200
)


@given(texts)
def test_slack_gets_no_control_sequence_of_anybody_elses(text):
    sent = slack.payload(notification(text), CHAT)
    spoken = json.dumps(sent, ensure_ascii=False).replace("<@U42>", "")
    assert "<" not in spoken
    assert ">" not in spoken
    assert sent["metadata"]["event_payload"]["id"] == "0123456789abcdef"


@given(st.text("<>&x", min_size=2000, max_size=4000))
def test_slacks_limits_hold_whatever_the_length(text):
    sent = slack.payload(notification(text), CHAT)
    assert len(sent["blocks"]) <= 50
    for block in sent["blocks"]:
        assert len(block.get("text", {}).get("text", "")) <= 3000
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", ()))


def test_a_red_report_calls_nobody():
    assert "<@U42>" not in json.dumps(slack.payload(notification(reason=Reason.REPORT), CHAT))


def test_slack_calls_the_watch_for_critical_only_and_answers_in_the_thread():
    assert "<@U42>" in slack.payload(notification(), CHAT)["text"]
    assert "<@U42>" not in slack.payload(notification(severity=Severity.HIGH), CHAT)["text"]
    resolved = slack.payload(notification(reason=Reason.RESOLVED, thread="1.5"), CHAT)
    assert "<@U42>" not in resolved["text"]
    assert resolved["thread_ts"] == "1.5"


@given(texts)
def test_a_mail_has_our_headers_and_no_other(text):
    from email import message_from_bytes, policy

    read = message_from_bytes(compose_mail(notification(text)).as_bytes(), policy=policy.default)
    assert read["Bcc"] is None
    assert read["Message-ID"] == "<0123456789abcdef@localhost.localdomain>"
    assert set(read.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress", "List-Id",
        "X-Sereno-Severity", "X-Sereno-Reason", "Importance", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert "<b>x</b>" not in read.get_body(("html",)).get_content()


def test_a_mails_subject_stays_and_the_thread_hangs_on_the_first():
    first = compose_mail(notification())
    last = compose_mail(notification(reason=Reason.RESOLVED, thread=first["Message-ID"]))
    assert first["Subject"] == last["Subject"]
    assert last["In-Reply-To"] == last["References"] == first["Message-ID"]
    assert "RESOLVED" in last.get_body(("plain",)).get_content()


@pytest.mark.parametrize("address", ["a", "a@b\r\nBcc: c@d", "a b@c", "<a@b>", "a@b, c@d"])
def test_an_address_is_one_address(address):
    with pytest.raises(ValueError):
        email.Options(type="email", host="h", to=(address,))


def test_a_ticket_has_the_fields_that_ticket_systems_know():
    body = webhook.payload(notification())
    assert body["type"] == "alert.firing"
    assert {"severity", "type", "message", "details", "timestamp", "actionRequired"} <= body[
        "data"
    ].keys()
    assert (body["data"]["severity"], body["data"]["type"]) == ("CRITICAL", "MAINTENANCE_FAILURE")


def test_the_signature_is_that_of_standard_webhooks():
    """The specification's own example (standard-webhooks, verifying-signatures)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published with the specification
    body = b'{"test": 2432232314}'
    signed = webhook.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert len(base64.b64decode(signed[3:])) == 32


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://x.example.org/a", True), ("http://127.0.0.1:9/a", True), ("http://[::1]/a", True),
        ("http://x.example.org/a", False), ("https://u:p@x.example.org", False), ("file:///etc/passwd", False), ("x", False),
    ],
)  # fmt: skip
def test_only_https_leaves_the_machine(url, fine):
    if fine:
        assert webhook.Options(type="webhook", url=url).url == url
    else:
        with pytest.raises(ValueError):
            webhook.Options(type="webhook", url=url)


@given(texts)
def test_a_message_survives_the_outbox(text):
    assert from_json(to_json(message(text))) == message(text)


@given(st.text())
def test_scrubbed_text_is_one_line(text):
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
def test_secrets_are_taken_out(text, secret):
    assert secret not in redact(text)
    assert "***" in redact(text)


def test_who_answers_a_byte_at_a_time_is_hung_up_on(monkeypatch):
    """Each read is in time, all of them never: a total limit ends it."""
    import socket
    import threading
    import time

    from alerts.channels import http as way

    monkeypatch.setattr(way, "TOTAL_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def drip():
        line, _ = listener.accept()
        listener.close()
        with line, contextlib.suppress(OSError):
            line.recv(4096)
            for letter in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 1000:
                line.send(bytes([letter]))
                time.sleep(0.05)

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    began = time.monotonic()
    with pytest.raises(DeliveryError):
        way.send(way.Request(f"http://127.0.0.1:{port}/", b"{}"))
    assert time.monotonic() - began < 3
    dripping.join(10)
