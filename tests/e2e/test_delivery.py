"""Each channel against a real server: what arrives, and what is made of every kind of refusal."""

import base64
import datetime as clock
import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from urllib.parse import parse_qs

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alerts import alert_store, channel_health, outbox
from alerts.alert import Message, Notification, Reason
from alerts.channels import email, slack, webhook
from alerts.channels.channel import DeliveryError, Failure, Sender
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from alerts.rules import Route
from daemon.demo.cluster import free_port
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import CHANNEL_UNDELIVERED
from domain.secret import Secret
from store.store import open_store


def notification(severity=Severity.HIGH, reason=Reason.OPENED, thread="", number="n0123"):
    message = Message(
        instance="coop", severity=severity, reason=reason, kind="orphans", type="MAINTENANCE_FAILURE", title="orphans: x",
        summary="7 rows", database="main", object="x", remedy="mend", occurred_at=datetime.now(UTC),
    )  # fmt: skip
    return Notification(number, "c", message, datetime.now(UTC), attempts=1, thread=thread)


def certificate(folder):
    """A certificate of our own for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = clock.datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


class Postbox:
    def __init__(self):
        self.mails, self.refuse = [], {}

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, session, envelope):
        self.mails.append(
            (
                message_from_bytes(envelope.content, policy=policy.default),
                list(envelope.rcpt_tos),
                session.ssl,
            )
        )
        return "250 OK"


def login(_server, _session, _envelope, _mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"sereno", b"hunter2"), handled=False)


@contextmanager
def smtp(postbox, **options):
    controller = Controller(postbox, hostname="localhost", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def password(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    return Secret(file=tmp_path / "password")


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS:UserWarning"
)  # aiosmtpd sees no TLS of ours
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_by_tls_with_a_password(tmp_path, password, tls):
    path, context = certificate(tmp_path)
    how = (
        {"tls_context": context, "require_starttls": True}
        if tls == "starttls"
        else {"ssl_context": context}
    )
    postbox = Postbox()
    extra = {"auth_require_tls": tls == "starttls"}
    with smtp(postbox, authenticator=login, auth_required=True, **extra, **how) as port:
        options = {
            "type": "email",
            "host": "localhost",
            "port": port,
            "to": ["a@example.org", "b@example.org"],
            "tls": tls,
            "user": "sereno",
        }
        channel = email.Email(
            email.Options(**options, password=password, ca_file=str(path)), Sender("coop")
        )
        first = channel.deliver(notification())
        channel.deliver(notification(reason=Reason.RESOLVED, thread=first.remote, number="n2"))
        with pytest.raises(DeliveryError, match="certificate"):
            email.Email(email.Options(**options, password=password), Sender("coop")).deliver(
                notification()
            )
        wrong = Secret(file=tmp_path / "wrong")
        wrong.file.write_text("wrong")
        with pytest.raises(DeliveryError) as refused:
            email.Email(
                email.Options(**options, password=wrong, ca_file=str(path)), Sender("coop")
            ).deliver(notification())
    assert refused.value.failure is Failure.PERMANENT
    (opened, to, _), (resolved, _, _) = postbox.mails
    assert (opened["Message-ID"], to) == (first.remote, ["a@example.org", "b@example.org"])
    assert resolved["In-Reply-To"] == first.remote
    assert "7 rows" in opened.get_body(("plain",)).get_content()


def test_a_server_that_asks_for_our_certificate_gets_it(tmp_path):
    path, context = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(path)
    postbox = Postbox()
    with smtp(postbox, tls_context=context, require_starttls=True) as port:
        options = {
            "type": "email",
            "host": "localhost",
            "port": port,
            "to": ["a@example.org"],
            "ca_file": str(path),
        }
        email.Email(email.Options(**options, client_cert=str(path)), Sender("coop")).deliver(
            notification()
        )
        with pytest.raises(DeliveryError):
            email.Email(email.Options(**options), Sender("coop")).deliver(notification())
        missing = email.Email(
            email.Options(**options, client_cert="/nowhere/cert.pem"), Sender("coop")
        )
        with pytest.raises(DeliveryError, match="cert") as caught:
            missing.deliver(notification())
    assert caught.value.failure is Failure.TRANSIENT
    assert len(postbox.mails) == 1
    with pytest.raises(ValueError, match="client_key needs"):
        email.Options(**options, client_key="/x")


def test_a_storm_by_mail_is_one_mail_with_the_whole_list_enclosed():
    from alerts.digest import same_message

    one = notification().message
    storm = same_message(
        [
            replace(one, alert=number, title=f"orphans: public.t{number}")
            for number in range(1, 1001)
        ]
    )
    postbox = Postbox()
    with smtp(postbox) as port:
        options = email.Options(
            type="email", host="localhost", port=port, to=["a@example.org"], tls="none"
        )
        email.Email(options, Sender("coop")).deliver(replace(notification(), message=storm))
    ((mail, _, _),) = postbox.mails
    (listed,) = mail.iter_attachments()
    assert (listed.get_filename(), len(mail.get_body(("html",)).get_content()) < 100_000) == (
        "alerts.txt",
        True,
    )
    text = listed.get_content()
    assert all(f"public.t{number} " in text for number in range(1, 1001))
    assert "and 940 more" in mail.get_body(("plain",)).get_content()


def test_starttls_is_required_not_tried(password):
    postbox = Postbox()
    with smtp(postbox) as port:
        channel = email.Email(
            email.Options(type="email", host="localhost", port=port, to=["a@example.org"]),
            Sender("coop"),
        )
        with pytest.raises(DeliveryError, match="STARTTLS"):
            channel.deliver(notification())
    assert postbox.mails == []


@pytest.mark.parametrize(
    ("answer", "failure"),
    [("550 no such user", Failure.PERMANENT), ("451 later", Failure.TRANSIENT)],
)
def test_a_refused_recipient(answer, failure):
    postbox = Postbox()
    postbox.refuse["a@example.org"] = answer
    with smtp(postbox) as port:

        def to(*addresses):
            return email.Email(
                email.Options(type="email", host="localhost", port=port, to=addresses, tls="none"),
                Sender("coop"),
            )

        with pytest.raises(DeliveryError) as caught:
            to("a@example.org").deliver(notification())
        receipt = to("a@example.org", "b@example.org").deliver(notification())
    assert (receipt.accepted, set(receipt.refused) | set(receipt.later)) == (
        ("b@example.org",),
        {"a@example.org"},
    )
    assert ("a@example.org" in receipt.refused) is (failure is Failure.PERMANENT)
    assert f"for b@example.org; not for a@example.org: {answer}" == receipt.words
    assert caught.value.failure is failure
    assert [recipients for _, recipients, _ in postbox.mails] == [["b@example.org"]]


def test_a_letter_is_text_and_html_with_its_pictures():
    from alerts.alert import Letter
    from alerts.message import from_json, to_json

    picture = b"\x89PNG\r\n\x1a\n" + bytes(200)
    letter = Letter(
        "in words: ä",
        '<p>ä <img src="cid:growth"></p>',
        {"growth": base64.b64encode(picture).decode()},
    )
    message = from_json(to_json(replace(notification(reason=Reason.REPORT).message, letter=letter)))
    postbox = Postbox()
    with smtp(postbox) as port:
        options = email.Options(
            type="email", host="localhost", port=port, to=["a@example.org"], tls="none"
        )
        email.Email(options, Sender("coop")).deliver(replace(notification(), message=message))
    ((mail, _, _),) = postbox.mails
    assert mail.get_content_type() == "multipart/alternative"
    text, related = mail.iter_parts()
    assert (text.get_content_type(), text.get_content().strip()) == ("text/plain", "in words: ä")
    page, image = related.iter_parts()
    assert (related.get_content_type(), page.get_content().strip()) == (
        "multipart/related",
        letter.html,
    )
    assert (image["Content-ID"], image.get_content()) == ("<growth>", picture)
    assert mail["Auto-Submitted"] == "auto-generated"


def test_nobody_listens():
    channel = email.Email(
        email.Options(
            type="email", host="127.0.0.1", port=free_port(), to=["a@example.org"], tls="none"
        ),
        Sender("c"),
    )
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notification())
    assert caught.value.failure is Failure.TRANSIENT


def answering(status, body=b"{}", **headers):
    return lambda _number, _request: (
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body,
    )


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (answering(429, Retry_After="7"), Failure.THROTTLED, 7.0), (answering(503), Failure.THROTTLED, None),
        (answering(500), Failure.AMBIGUOUS, None), (answering(504), Failure.AMBIGUOUS, None), (answering(408), Failure.TRANSIENT, None),
        (answering(404), Failure.PERMANENT, None), (answering(302, Location="http://127.0.0.1:1/"), Failure.PERMANENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)  # fmt: skip
def test_what_a_ticket_system_may_answer(endpoint, answer, failure, after):
    channel = webhook.Webhook(
        webhook.Options(type="webhook", url=endpoint(answer).url), Sender("coop ñ 漢")
    )
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notification())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)


def test_a_ticket_is_signed_and_its_key_is_kept(endpoint, tmp_path):
    (tmp_path / "secret").write_text("whsec_c2VyZW5v")
    place = endpoint()
    options = webhook.Options(
        type="webhook", url=place.url + "/api?x=1", secret=Secret(file=tmp_path / "secret")
    )
    assert webhook.Webhook(options, Sender("coop")).deliver(notification()).remote == "T-1"
    (request,) = place.requests
    headers = request["headers"]
    signed = webhook.sign(
        "whsec_c2VyZW5v", "n0123", int(headers["webhook-timestamp"]), request["body"]
    )
    assert (headers["webhook-id"], headers["idempotency-key"], headers["webhook-signature"]) == (
        "n0123",
        "n0123",
        signed,
    )
    assert request["path"] == "/api?x=1"


def chat(place, tmp_path):
    (tmp_path / "token").write_text("xoxb-canary")
    return slack.Slack(
        slack.Options(
            type="slack",
            token=Secret(file=tmp_path / "token"),
            channel="#c",
            api_url=place.url + "/api/",
        ),
        Sender("c"),
    )


def test_slack(endpoint, tmp_path):
    place = endpoint()
    assert chat(place, tmp_path).deliver(notification()).remote == "C9:1.1"
    (request,) = place.requests
    assert (request["path"], request["headers"]["authorization"]) == (
        "/api/chat.postMessage",
        "Bearer xoxb-canary",
    )
    sent = (
        json.loads(request["body"])
        if request["body"][:1] == b"{"
        else {k: v[0] for k, v in parse_qs(request["body"].decode()).items()}
    )
    assert sent["channel"] == "#c"


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (
            answering(429, b'{"ok": false, "error": "ratelimited"}', Retry_After="30"),
            Failure.THROTTLED,
            30.0,
        ),
        (
            answering(200, b'{"ok": false, "error": "message_limit_exceeded"}'),
            Failure.THROTTLED,
            None,
        ),
        (answering(200, b'{"ok": false, "error": "invalid_auth"}'), Failure.PERMANENT, None),
        (answering(200, b'{"ok": false, "error": "internal_error"}'), Failure.TRANSIENT, None),
        (answering(503, b"upstream"), Failure.TRANSIENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)
def test_what_slack_may_answer(endpoint, tmp_path, answer, failure, after):
    place = endpoint(answer)
    with pytest.raises(DeliveryError) as caught:
        chat(place, tmp_path).deliver(notification())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)
    assert len(place.requests) == 1
    assert "canary" not in str(caught.value)


def hook(place, tmp_path):
    (tmp_path / "hook").write_text(place.url + "/services/T0/B0/canary\n")
    return slack.Slack(slack.Options(type="slack", url=Secret(file=tmp_path / "hook")), Sender("c"))


def test_slack_by_webhook(endpoint, tmp_path):
    place = endpoint(answering(200, b"ok"))
    channel = hook(place, tmp_path)
    assert channel.deliver(notification()).remote == ""
    channel.deliver(notification(reason=Reason.RESOLVED, thread="1.1"))
    first, second = (json.loads(request["body"]) for request in place.requests)
    assert place.requests[0]["path"] == "/services/T0/B0/canary"
    assert first.keys() == second.keys() == {"text", "blocks", "unfurl_links", "unfurl_media"}
    assert "resolved" in second["text"]


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (answering(404, b"no_service"), Failure.PERMANENT, None),
        (answering(403, b"action_prohibited"), Failure.PERMANENT, None),
        (answering(429, b"rate_limited", Retry_After="7"), Failure.THROTTLED, 7.0),
        (answering(500, b"rollup_error"), Failure.AMBIGUOUS, None),
        (answering(200, b"<html>a proxy's page</html>"), Failure.TRANSIENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)
def test_what_slacks_webhook_may_answer(endpoint, tmp_path, answer, failure, after, caplog):
    place = endpoint(answer)
    with pytest.raises(DeliveryError) as caught:
        hook(place, tmp_path).deliver(notification())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)
    assert len(place.requests) == 1
    assert "canary" not in str(caught.value) + caplog.text


def test_slack_takes_one_way_and_no_plain_http(tmp_path):
    secret = Secret(file=tmp_path / "hook")
    for wrong in (
        {"url": secret, "token": secret, "channel": "#c"},
        {},
        {"token": secret},
        {"url": secret, "channel": "#c"},
    ):
        with pytest.raises(ValueError, match="incoming webhook"):
            slack.Options(type="slack", **wrong)
    (tmp_path / "hook").write_text("http://hooks.example.org/services/x")
    with pytest.raises(DeliveryError, match="not https"):
        slack.Slack(slack.Options(type="slack", url=secret), Sender("c")).deliver(notification())


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 1, 2, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def courier(tmp_path, endpoint):
    """A courier with a dead channel and a good one, and a clock that the test moves."""
    store = open_store(tmp_path / "state.db")
    good, bad = endpoint(), endpoint(answering(500))
    channels = {
        name: webhook.Webhook(webhook.Options(type="webhook", url=place.url), Sender("c"))
        for name, place in (("good", good), ("bad", bad))
    }
    routes = dict.fromkeys(Severity, ("good", "bad"))
    return Courier(store, channels, Policy(routes, instance="coop"), Clock()), good, bad


def owe(courier, channel, severity=Severity.HIGH):
    with courier.store.transaction() as transaction:
        return outbox.enqueue(transaction, notification(severity).message, channel, courier.clock())


def test_a_dead_channel_delays_no_other_and_its_death_is_told_elsewhere(courier):
    carrier, good, bad = courier
    number = owe(carrier, "bad")
    owe(carrier, "good")
    assert carrier.deliver_one("bad")
    assert carrier.deliver_one("good")
    assert len(good.requests) == 1
    end = carrier.clock.now + timedelta(hours=73)
    tries = 1
    while carrier.clock.now < end:
        carrier.clock.now += timedelta(minutes=5)
        tries += carrier.deliver_one("bad")
    assert {request["headers"]["webhook-id"] for request in bad.requests} == {number}
    assert len(bad.requests) == tries > 72
    assert carrier.deliver_one("good")
    told = json.loads(good.requests[-1]["body"])["data"]
    assert (told["kind"], told["object"]) == (CHANNEL_UNDELIVERED.name, "bad")
    with carrier.store.reading() as transaction:
        assert outbox.load_state(transaction, number)[0] == "dead"
    bad.answer = answering(200, b"{}")
    owe(carrier, "bad")
    assert carrier.deliver_one("bad")
    assert carrier.deliver_one("good")
    assert json.loads(good.requests[-1]["body"])["data"]["state"] == "resolved"


def test_who_may_take_it_later_is_tried_alone_and_who_refuses_is_told_elsewhere(courier):
    carrier, good, _ = courier
    postbox = Postbox()
    postbox.refuse = {
        "gone@example.org": "550 no such user",
        "grey@example.org": "451 try again later",
    }
    with smtp(postbox) as port:
        to = ("a@example.org", "gone@example.org", "grey@example.org")
        options = email.Options(type="email", host="localhost", port=port, to=to, tls="none")
        channels = {**carrier.channels, "bad": email.Email(options, Sender("coop"))}
        carrier = replace(carrier, channels=channels, policy=Policy({Severity.HIGH: ("good",)}))
        number = owe(carrier, "bad")
        assert carrier.deliver_one("bad")
        assert [recipients for _, recipients, _ in postbox.mails] == [["a@example.org"]]
        assert carrier.deliver_one("good")
        told = json.loads(good.requests[-1]["body"])["data"]
        assert (told["kind"], told["object"]) == ("recipient_refused", "bad: gone@example.org")
        assert not carrier.deliver_one("bad")
        carrier.clock.now += timedelta(minutes=5)
        del postbox.refuse["grey@example.org"]
        assert carrier.deliver_one("bad")
        assert [recipients for _, recipients, _ in postbox.mails] == [
            ["a@example.org"],
            ["grey@example.org"],
        ]
        assert len({mail["Message-ID"] for mail, _, _ in postbox.mails}) == 1
        with carrier.store.reading() as transaction:
            assert outbox.load_state(transaction, number)[0] == "sent"
        assert not carrier.deliver_one("good")
        postbox.refuse.clear()
        owe(carrier, "bad")
        assert carrier.deliver_one("bad")
        assert carrier.deliver_one("good")
    assert json.loads(good.requests[-1]["body"])["data"]["state"] == "resolved"


def mailing(carrier, port, *to):
    options = email.Options(type="email", host="localhost", port=port, to=to, tls="none")
    return replace(
        carrier, channels={**carrier.channels, "bad": email.Email(options, Sender("coop"))}
    )


def test_a_full_mailbox_keeps_nothing_from_the_others(courier):
    carrier, _, _ = courier
    postbox = Postbox()
    postbox.refuse = {"full@example.org": "452 mailbox full"}
    finding = Finding(Identity("orphans", "coop", object="x"), Severity.CRITICAL, "7 rows")
    policy = Policy({Severity.CRITICAL: ("bad",)})
    with smtp(postbox) as port:
        carrier = mailing(carrier, port, "a@example.org", "full@example.org")

        def tell(findings, coverage=()):
            with carrier.store.transaction() as transaction:
                AlertProcessor(transaction, policy, carrier.clock()).process(findings, coverage)
            while carrier.deliver_one("bad"):
                pass

        tell([finding])
        carrier.clock.now += timedelta(hours=1)
        tell([finding])
        carrier.clock.now += timedelta(minutes=1)
        tell([], [Coverage("orphans")])
    reasons = [mail["X-Sereno-Reason"] for mail, to, _ in postbox.mails if to == ["a@example.org"]]
    assert reasons == ["opened", "repeat", "resolved"]


def test_a_refused_address_is_told_by_its_own_channel_and_over_when_it_is_mended(courier):
    carrier, _, _ = courier
    postbox = Postbox()
    postbox.refuse = {"gone@example.org": "550 no such user"}
    policy = Policy(dict.fromkeys(Severity, ("bad",)))
    with smtp(postbox) as port:
        carrier = replace(
            mailing(carrier, port, "a@example.org", "gone@example.org"), policy=policy
        )
        owe(carrier, "bad")
        while carrier.deliver_one("bad"):
            pass
        kinds = [mail["Subject"] for mail, to, _ in postbox.mails if to == ["a@example.org"]]
        assert any("recipient_refused" in kind for kind in kinds)
        carrier = replace(mailing(carrier, port, "a@example.org", "new@example.org"), policy=policy)
        owe(carrier, "bad")
        while carrier.deliver_one("bad"):
            pass
    with carrier.store.reading() as transaction:
        assert alert_store.load_open(transaction) == []


def test_what_is_open_about_a_channel_that_is_gone_is_over(courier, tmp_path):
    carrier, _, bad = courier
    bad.answer = answering(404, b"")
    owe(carrier, "bad")
    carrier.deliver_one("bad")
    with carrier.store.reading() as transaction:
        assert [alert.object for alert in alert_store.load_open(transaction)] == ["bad"]
    without = replace(carrier, channels={"good": carrier.channels["good"]})
    stop = threading.Event()
    workers = without.start(stop)
    stop.set()
    for worker in workers:
        worker.join()
    with carrier.store.reading() as transaction:
        assert alert_store.load_open(transaction) == []


def test_a_permanent_refusal_is_not_tried_again(courier):
    carrier, good, bad = courier
    bad.answer = answering(410)
    owe(carrier, "bad")
    for _ in range(3):
        carrier.deliver_one("bad")
        carrier.clock.now += timedelta(hours=1)
    assert len(bad.requests) == 1
    carrier.deliver_one("good")
    assert json.loads(good.requests[0]["body"])["data"]["kind"] == CHANNEL_UNDELIVERED.name


def test_retry_after_is_waited_in_full(courier):
    carrier, _, bad = courier
    bad.answer = answering(429, Retry_After="600")
    owe(carrier, "bad")
    carrier.deliver_one("bad")
    carrier.clock.now += timedelta(seconds=599)
    assert not carrier.deliver_one("bad")
    carrier.clock.now += timedelta(seconds=3)
    assert carrier.deliver_one("bad")


def test_a_resolve_waits_for_what_it_resolves_and_worse_news_for_nothing(courier):
    """Nobody knows whether the first message was taken: what got worse overtakes it, the end does not."""
    carrier, good, _ = courier
    finding = Finding(Identity("orphans", object="x"), Severity.WARNING, "bad")
    good.answer = lambda *_: None

    def look(*findings):
        with carrier.store.transaction() as transaction:
            AlertProcessor(transaction, carrier.policy, carrier.clock()).process(
                findings, [Coverage("orphans")]
            )

    look(finding)
    assert carrier.deliver_one("good")
    look(replace(finding, severity=Severity.CRITICAL))
    look()
    good.answer = answering(200)
    for _ in range(3):  # what is critical lets what stands before its end go at once
        assert carrier.deliver_one("good")
    assert not carrier.deliver_one("good")
    reasons = [json.loads(request["body"])["data"]["reason"] for request in good.requests]
    assert reasons == ["opened", "severity_raised", "opened", "resolved"]


def test_a_channel_that_is_gone_from_the_configuration_is_told_elsewhere(courier):
    carrier, good, _ = courier
    number = owe(carrier, "renamed")
    carrier.drain(10)
    with carrier.store.reading() as transaction:
        assert outbox.load_state(transaction, number)[0] == "dead"
    (told,) = [json.loads(request["body"])["data"] for request in good.requests]
    assert (told["kind"], told["object"]) == (CHANNEL_UNDELIVERED.name, "renamed")


def test_repeats_do_not_pile_up_while_a_channel_is_down(courier):
    carrier, good, _ = courier
    good.answer = answering(500)
    finding = Finding(Identity("orphans", object="x"), Severity.CRITICAL, "bad")
    with carrier.store.transaction() as transaction:
        AlertProcessor(transaction, carrier.policy, carrier.clock()).process([finding])
    for _ in range(10):
        carrier.clock.now += timedelta(hours=1)
        with carrier.store.transaction() as transaction:
            AlertProcessor(transaction, carrier.policy, carrier.clock()).review()
    with carrier.store.reading() as transaction:
        assert [one.channel for one in outbox.load_waiting(transaction)] == ["good", "bad"]


def test_the_most_urgent_first(courier):
    carrier, good, _ = courier
    for severity in (Severity.INFO, Severity.HIGH, Severity.CRITICAL):
        owe(carrier, "good", severity)
    while carrier.deliver_one("good"):
        pass
    assert [json.loads(request["body"])["data"]["severity"] for request in good.requests] == [
        "CRITICAL",
        "HIGH",
        "INFO",
    ]


def test_a_full_disk_is_waited_out(courier, wait):
    """The state file goes away under the courier and comes back: the worker lives, the message arrives."""
    carrier, good, _ = courier
    stop = threading.Event()
    worker = threading.Thread(target=carrier.work, args=("good", stop))
    aside = carrier.store.path.with_suffix(".aside")
    owe(carrier, "good")
    carrier.store.path.rename(aside)
    worker.start()
    try:
        stop.wait(0.3)
        assert worker.is_alive()
        aside.rename(carrier.store.path)
        wait(lambda: good.requests, 10, "the message")
    finally:
        stop.set()
        carrier.store.bell.ring()
        worker.join()


def test_what_another_process_owes_is_heard_of_soon(courier, wait):
    """Another one's commit rings no bell of ours: one thread looks at the file for all workers."""
    carrier, good, _ = courier
    stop = threading.Event()
    workers = carrier.start(stop)
    try:
        wait(lambda: carrier.store.bell.times, 10, "the first look at the file")
        owe(replace(carrier, store=open_store(carrier.store.path)), "good")
        wait(lambda: good.requests, 10, "the message")
    finally:
        stop.set()
        carrier.store.bell.ring()
        for worker in workers:
            worker.join(1)
    assert not any(worker.is_alive() for worker in workers)


def told_by(place):
    return [json.loads(request["body"])["data"]["kind"] for request in place.requests]


def tell(carrier, *findings):
    with carrier.store.transaction() as transaction:
        AlertProcessor(transaction, carrier.policy, carrier.clock()).process(findings)
    for name in carrier.channels:
        while carrier.deliver_one(name):
            pass


@pytest.mark.parametrize(
    "rules", [(), (Route(channels=("bad",)),)], ids=["by severity", "a rule for all"]
)
def test_what_is_critical_and_refused_for_good_goes_by_the_fallback_each_time(courier, rules):
    carrier, good, bad = courier
    bad.answer = answering(401)
    policy = Policy({Severity.CRITICAL: ("bad",), Severity.HIGH: ("bad",)}, instance="coop", rules=rules, fallback=("good",), channel_names=frozenset({"good", "bad"}))  # fmt: skip
    carrier = replace(carrier, policy=policy)
    for name in "ab":
        tell(
            carrier, Finding(Identity("orphans", "coop", object=name), Severity.CRITICAL, "7 rows")
        )
        carrier.clock.now += timedelta(minutes=1)
        tell(carrier)
    assert told_by(good).count("orphans") == 2
    assert CHANNEL_UNDELIVERED.name in told_by(good)


def test_what_somebody_looks_after_goes_by_no_fallback(courier):
    carrier, good, bad = courier
    bad.answer = answering(503)
    carrier = replace(
        carrier, policy=Policy({Severity.CRITICAL: ("bad",)}, instance="coop", fallback=("good",))
    )
    tell(carrier, Finding(Identity("orphans", "coop", object="x"), Severity.CRITICAL, "7 rows"))
    with carrier.store.transaction() as transaction:
        (alert,) = alert_store.load_open(transaction)
        AlertProcessor(transaction, carrier.policy, carrier.clock()).acknowledge(
            alert.id, Acknowledgement("ana")
        )
    carrier.clock.now += timedelta(minutes=6)
    with carrier.store.transaction() as transaction:
        channel_health.check_channels(transaction, carrier.policy, carrier.clock())
    tell(carrier)
    assert "orphans" not in told_by(good)


def test_the_end_replaces_what_some_have_not_taken_yet(courier):
    carrier, _, _ = courier
    postbox = Postbox()
    postbox.refuse = {"b@example.org": "451 later"}
    policy = Policy({Severity.HIGH: ("bad",)}, instance="coop")
    with smtp(postbox) as port:
        carrier = replace(mailing(carrier, port, "a@example.org", "b@example.org"), policy=policy)
        finding = Finding(Identity("orphans", "coop", object="x"), Severity.HIGH, "7 rows")
        tell(carrier, finding)
        with carrier.store.transaction() as transaction:
            AlertProcessor(transaction, policy, carrier.clock()).process((), [Coverage("orphans")])
        postbox.refuse.clear()
        assert carrier.deliver_one("bad")
        carrier.clock.now += timedelta(hours=1)
        assert not carrier.deliver_one("bad")
    assert [(mail["X-Sereno-Reason"], len(to)) for mail, to, _ in postbox.mails] == [
        ("opened", 1),
        ("resolved", 2),
    ]


def test_a_goodbye_that_is_lost_takes_no_mail_back():
    class Rude(Postbox):
        async def handle_QUIT(self, server, _session, _envelope):
            server.transport.abort()
            return "221 bye"

    postbox = Rude()
    with smtp(postbox) as port:
        options = email.Options(
            type="email", host="localhost", port=port, to=["a@example.org"], tls="none"
        )
        assert email.Email(options, Sender("coop")).deliver(notification()).accepted == (
            "a@example.org",
        )
