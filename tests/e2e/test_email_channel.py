"""The email channel against a real SMTP server: message format, TLS, failures."""

import base64
import ssl
from dataclasses import replace

import pytest
from aiosmtpd.smtp import AuthResult

from alerts.alert import Letter, Reason
from alerts.channels.channel import DeliveryError, Failure
from alerts.courier import Courier
from alerts.digest import same_message
from alerts.message import from_json, to_json
from daemon.demo.cluster import free_port
from domain.secret import Secret
from tests.fixtures.certificates import create_certificate
from tests.fixtures.notifications import Postbox, email_channel, smtp
from tests.fixtures.secrets import write_secret


def authenticate(_server, _session, _envelope, _mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"sereno", b"hunter2"), handled=False)


@pytest.fixture
def password(tmp_path):
    write_secret(tmp_path / "password", "hunter2\n")
    return Secret(file=tmp_path / "password")


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS:UserWarning"
)  # aiosmtpd does not know that the socket is wrapped
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_email_over_tls_authenticates_and_verifies_certificate(tmp_path, password, notify, tls):
    path, context = create_certificate(tmp_path)
    server = {"authenticator": authenticate, "auth_required": True}
    if tls == "starttls":
        server |= {"auth_require_tls": True, "tls_context": context, "require_starttls": True}
    else:
        server |= {"auth_require_tls": False, "ssl_context": context}
    postbox = Postbox()
    with smtp(postbox, **server) as port:

        def channel(password, **options):
            recipients = ("a@example.org", "b@example.org")
            options |= {"tls": tls, "user": "sereno", "password": password}
            return email_channel(port, *recipients, **options)

        trusting = channel(password, ca_file=str(path))
        first = trusting.deliver(notify())
        trusting.deliver(notify("n2", reason=Reason.RESOLVED, thread=first.remote))
        with pytest.raises(DeliveryError, match="certificate"):
            channel(password).deliver(notify())
        wrong = Secret(file=tmp_path / "wrong")
        write_secret(wrong.file, "wrong")
        with pytest.raises(DeliveryError) as refused:
            channel(wrong, ca_file=str(path)).deliver(notify())
    assert refused.value.failure is Failure.CHANNEL
    (opened, to, _), (resolved, _, _) = postbox.mails
    assert (opened["Message-ID"], to) == (first.remote, ["a@example.org", "b@example.org"])
    assert resolved["In-Reply-To"] == first.remote
    assert "7 rows" in opened.get_body(("plain",)).get_content()


def test_email_client_certificate_is_sent_when_the_server_requires_it(tmp_path, notify):
    path, context = create_certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(path)
    postbox = Postbox()
    with smtp(postbox, tls_context=context, require_starttls=True) as port:
        options = {"ca_file": str(path)}
        email_channel(port, **options, client_cert=str(path)).deliver(notify())
        with pytest.raises(DeliveryError):
            email_channel(port, **options).deliver(notify())
        missing = email_channel(port, **options, client_cert="/nowhere/cert.pem")
        with pytest.raises(DeliveryError, match="cert") as caught:
            missing.deliver(notify())
    assert caught.value.failure is Failure.TRANSIENT
    assert len(postbox.mails) == 1
    with pytest.raises(ValueError, match="client_key needs"):
        email_channel(port, **options, client_key="/x")


def test_email_starttls_is_mandatory(notify):
    postbox = Postbox()
    with smtp(postbox) as port:
        with pytest.raises(DeliveryError, match="STARTTLS"):
            email_channel(port).deliver(notify())
    assert postbox.mails == []


def test_email_digest_attaches_the_full_alert_list(notify):
    one = notify().message
    digest = same_message(
        [
            replace(one, alert=number, title=f"orphans: public.t{number}")
            for number in range(1, 1001)
        ]
    )
    postbox = Postbox()
    with smtp(postbox) as port:
        email_channel(port, tls="none").deliver(replace(notify(), message=digest))
    ((mail, _, _),) = postbox.mails
    (attachment,) = mail.iter_attachments()
    assert (attachment.get_filename(), len(mail.get_body(("html",)).get_content()) < 100_000) == (
        "alerts.txt",
        True,
    )
    text = attachment.get_content()
    assert all(f"public.t{number} " in text for number in range(1, 1001))
    assert "and 940 more" in mail.get_body(("plain",)).get_content()


def test_email_report_has_text_html_and_inline_images(notify):
    picture = b"\x89PNG\r\n\x1a\n" + bytes(200)
    letter = Letter(
        "in words: ä",
        '<p>ä <img src="cid:growth"></p>',
        {"growth": base64.b64encode(picture).decode()},
    )
    message = from_json(to_json(replace(notify(reason=Reason.REPORT).message, letter=letter)))
    postbox = Postbox()
    with smtp(postbox) as port:
        email_channel(port, tls="none").deliver(replace(notify(), message=message))
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


@pytest.mark.parametrize(
    ("answer", "failure"),
    [("550 no such user", Failure.PERMANENT), ("451 later", Failure.TRANSIENT)],
)
def test_email_recipient_refusal_is_classified_by_reply_code(notify, answer, failure):
    postbox = Postbox()
    postbox.refuse["a@example.org"] = answer
    with smtp(postbox) as port:
        with pytest.raises(DeliveryError) as caught:
            email_channel(port, "a@example.org", tls="none").deliver(notify())
        both = email_channel(port, "a@example.org", "b@example.org", tls="none")
        receipt = both.deliver(notify())
    assert (receipt.accepted, set(receipt.refused) | set(receipt.later)) == (
        ("b@example.org",),
        {"a@example.org"},
    )
    assert ("a@example.org" in receipt.refused) is (failure is Failure.PERMANENT)
    assert f"for b@example.org; not for a@example.org: {answer}" == receipt.words
    assert caught.value.failure is failure
    assert [recipients for _, recipients, _ in postbox.mails] == [["b@example.org"]]


def test_email_connection_refused_is_transient(notify):
    channel = email_channel(free_port(), host="127.0.0.1", tls="none")
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert caught.value.failure is Failure.TRANSIENT


def test_email_connection_lost_at_quit_does_not_fail_the_delivery(notify):
    class ConnectionAbortedAtQuit(Postbox):
        async def handle_QUIT(self, server, _session, _envelope):
            server.transport.abort()
            return "221 bye"

    with smtp(ConnectionAbortedAtQuit()) as port:
        receipt = email_channel(port, tls="none").deliver(notify())
    assert receipt.accepted == ("a@example.org",)


SPANISH = """
[channels.mail]
type = "email"
host = "127.0.0.1"
port = {port}
tls = "none"
to = ["a@example.org"]
[channels.correo]
type = "email"
language = "es"
host = "127.0.0.1"
port = {port}
tls = "none"
to = ["b@example.org"]
[routes]
high = ["mail", "correo"]
critical = ["mail", "correo"]
"""


def texts_of(house, postbox):
    """Deliver what waits; return subject and text of each mail by its recipient."""
    context = house.context()
    courier = Courier(
        context.store, context.channels, context.policy, context.clock, ignore_grouping=True
    )
    for channel in ("mail", "correo"):
        while courier.deliver_one(channel):
            pass
    found, postbox.mails[:] = list(postbox.mails), []
    return {
        to: (mail["Subject"], mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content())
        for mail, (to,), _ in found
    }  # fmt: skip


def test_alerts_are_in_the_language_of_their_channel(house):
    postbox = Postbox()
    house.with_logins = False
    house.database.run("CREATE SEQUENCE public.uno MAXVALUE 100; SELECT setval('public.uno', 95)")
    with smtp(postbox) as port:
        house.extra = SPANISH.format(port=port)
        house.run("integrity_check")
        opened = texts_of(house, postbox)
        house.database.run(
            "CREATE SEQUENCE public.dos MAXVALUE 100; SELECT setval('public.dos', 95);"
            "CREATE SEQUENCE public.tres MAXVALUE 100; SELECT setval('public.tres', 95)"
        )
        house.run("integrity_check")
        several = texts_of(house, postbox)
        house.database.run("DROP SEQUENCE public.uno, public.dos, public.tres")
        house.run("integrity_check")
        resolved = texts_of(house, postbox)
    subject, text, html = opened["b@example.org"]
    assert subject == "[ALTA] sereno test: sequence_exhaustion: main public.uno"
    assert "95.0 % usado: en 95 de 100" in text
    assert "remedio: ALTER SEQUENCE public.uno" in text
    assert "vista por primera vez: " in text
    assert "atender: sereno alerts ack " in text
    assert "_es" not in text
    assert '<html lang="es">' in html
    assert "Qué hacer" in html
    assert "95.0 % used: at 95 of 100" in opened["a@example.org"][1]
    assert "first seen: " in opened["a@example.org"][1]
    subject, text, _ = several["b@example.org"]
    assert " 2 alertas del " in subject
    assert "alta: sequence_exhaustion: main public.dos - 95.0 % usado" in text
    assert " 2 alerts of " in several["a@example.org"][0]
    subject, text, _ = resolved["b@example.org"]
    assert subject == f"[RESUELTA] sereno test: 2 alertas del {subject[-10:]}"
    assert "RESUELTA (era ALTA)" in text or "resuelta: " in text
    assert resolved["a@example.org"][0].startswith("[RESOLVED] ")
