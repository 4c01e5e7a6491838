"""Email: text and HTML, a Message-ID that stays the same on every copy, and threads that hang on the first one."""

import base64
import html
import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from alerts.alert import Message, Notification, Reason, Receipt
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender
from alerts.channels.post import deadline
from alerts.secret import Secret, SecretError
from checks.finding import Severity

TOTAL_SECONDS = 180
TIMEOUT_SECONDS = 20.0
PERMANENT = 500
"""SMTP's replies from here on are final (RFC 5321, 4.2.1)."""
_LABEL = "padding:4px 14px 4px 0;color:#667;vertical-align:top;white-space:nowrap"
_COLOURS = {
    Severity.INFO: "#3b6ea5",
    Severity.WARNING: "#b7791f",
    Severity.HIGH: "#c05621",
    Severity.CRITICAL: "#b00020",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@<>\"(),:;\\\[\]]+")


def _address(text: str) -> str:
    """Accept a bare address only: Python 3.11.7's email package lets a line break through into the headers."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f'"{text}" is not an address (like guardia@example.org)')
    return text


Address = Annotated[str, AfterValidator(_address)]


class Options(ChannelOptions):
    """An SMTP server and who is written to."""

    type: Literal["email"]
    host: str = Field(examples=['"smtp.example.org"'])
    port: int | None = Field(None, ge=1, le=65535, description="465 with tls, else 587; 25 without encryption")
    to: tuple[Address, ...] = Field(min_length=1, examples=['["guardia@example.org"]'])
    sender: Address = "sereno@localhost.localdomain"
    tls: Literal["starttls", "tls", "none"] = Field("starttls", description="starttls is required, not tried")
    ca_file: str | None = Field(None, description="certificates to trust instead of the system's")
    user: str | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.user is None) != (self.password is None):
            message = "user and password go together"
            raise ValueError(message)
        return self


class Email:
    """One SMTP session a message."""

    def __init__(self, options: Options, sender: Sender) -> None:
        self._options = options
        self._instance = sender.instance

    def deliver(self, notification: Notification) -> Receipt:
        """Send it to everybody, or to those who have not taken it yet; its name is the Message-ID."""
        mail = compose(notification, self._options, self._instance)
        to = notification.recipients or self._options.to
        try:
            with self._server() as server:
                refused = server.send_message(mail, self._options.sender, list(to))
        except DeliveryError:
            raise
        except smtplib.SMTPServerDisconnected as error:
            raise DeliveryError(Failure.AMBIGUOUS, f"the connection was lost: {error}") from None
        except smtplib.SMTPRecipientsRefused as error:
            if not notification.recipients:
                raise _refused(error.recipients) from None
            refused = error.recipients  # the others have it already
        except smtplib.SMTPResponseException as error:
            failure = Failure.PERMANENT if error.smtp_code >= PERMANENT else Failure.TRANSIENT
            raise DeliveryError(failure, f"{error.smtp_code} {_text(error.smtp_error)}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryError(Failure.TRANSIENT, str(error) or type(error).__name__) from None
        return _receipt(str(mail["Message-ID"]), to, refused)

    @contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        options = self._options
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                options.host, options.port or 465, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(
                options.host,
                options.port or (587 if options.tls == "starttls" else 25),
                timeout=TIMEOUT_SECONDS,
            )
        try:
            if options.tls == "starttls":
                server.starttls(context=context)
            assert server.sock is not None  # noqa: S101 - it is connected
            with deadline(server.sock, TOTAL_SECONDS):
                if options.user is not None:
                    server.login(options.user, self._password())
                yield server
                server.quit()
        finally:
            server.close()

    def _password(self) -> str:
        try:
            return self._options.password.reveal() if self._options.password else ""
        except SecretError as error:
            raise DeliveryError(Failure.TRANSIENT, str(error)) from None


def compose(notification: Notification, options: Options, instance: str) -> EmailMessage:
    """Build the mail. The subject stays the same while the alert lives; state and severity stand in the body."""
    message = notification.message
    mail = EmailMessage()
    mail["Subject"] = header(f"sereno {instance}: {message.title}")
    mail["From"] = header(options.sender)
    mail["To"] = header(", ".join(options.to))
    mail["Date"] = format_datetime(message.occurred_at)
    mail["Message-ID"] = f"<{notification.id}@{_domain(options.sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = header(f"<{re.sub(r'[^A-Za-z0-9-]+', '-', instance)}.sereno>")
    mail["X-Sereno-Severity"] = message.severity.value
    mail["X-Sereno-Reason"] = message.reason.value
    if message.severity is Severity.CRITICAL:
        mail["Importance"] = "high"
    if notification.thread:
        mail["In-Reply-To"] = mail["References"] = header(notification.thread)
    if message.letter is None:
        mail.set_content(_plain(message))
        mail.add_alternative(_html(message), subtype="html")
        return mail
    mail.set_content(message.letter.text)
    mail.add_alternative(message.letter.html, subtype="html")
    body = mail.get_payload()[1]  # type: ignore[index]
    for name, image in message.letter.images.items():
        content = base64.b64decode(image)
        body.add_related(content, "image", "png", cid=f"<{name}>", filename=f"{name}.png", disposition="inline")  # type: ignore[union-attr]
    return mail


def header(text: str) -> str:
    """Let no line break or other control character into a header."""
    return _CONTROL.sub(" ", text).strip()


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _headline(message: Message) -> str:
    if message.reason is Reason.RESOLVED:
        return f"RESOLVED (was {message.severity.value.upper()})"
    return message.severity.value.upper()


def _lines(message: Message) -> Iterator[tuple[str, str]]:
    """Yield what both parts of the mail say."""
    yield "database", message.database
    yield "object", message.object
    if message.reason is not Reason.RESOLVED:
        yield "what to do", message.remedy
    yield from message.details.items()
    yield "told because", message.reason.value.replace("_", " ")
    yield "at", message.occurred_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    if message.alert is not None:
        yield "acknowledge", f"sereno alerts ack {message.alert}"


def _plain(message: Message) -> str:
    lines = [f"{name}: {value}" for name, value in _lines(message) if value]
    return "\n".join([f"{_headline(message)} - {message.title}", "", message.summary, "", *lines, ""])


def _html(message: Message) -> str:
    colour = "#2f855a" if message.reason is Reason.RESOLVED else _COLOURS[message.severity]
    rows = "".join(
        f'<tr><td style="{_LABEL}">{html.escape(name)}</td>'
        f'<td style="padding:4px 0;word-break:break-word">{html.escape(value)}</td></tr>'
        for name, value in _lines(message)
        if value
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"></head>'
        '<body style="margin:0;padding:16px;font:15px/1.45 system-ui,sans-serif;color:#223;background:#fff">'
        f'<div style="max-width:640px;border-left:6px solid {colour};padding:2px 16px">'
        f'<p style="margin:0 0 4px;color:{colour};font-weight:700">{html.escape(_headline(message))}</p>'
        f'<h1 style="margin:0 0 10px;font-size:19px;word-break:break-word">{html.escape(message.title)}</h1>'
        f'<p style="margin:0 0 12px">{html.escape(message.summary)}</p>'
        f'<table style="border-collapse:collapse;font-size:14px">{rows}</table>'
        f'<p style="margin:14px 0 0;color:#889;font-size:12px">sereno on {html.escape(message.instance)}</p>'
        "</div></body></html>"
    )


def _receipt(number: str, to: Sequence[str], refused: Mapping[str, tuple[int, bytes]]) -> Receipt:
    """Sort the recipients: 4xx may be taken later, 5xx never (RFC 5321, 4.2.1)."""
    told = {address: f"{code} {_text(reason)}" for address, (code, reason) in refused.items()}
    accepted = tuple(address for address in to if address not in refused)
    words = [f"for {', '.join(accepted) or 'nobody'}", *(f"not for {who}: {why}" for who, why in told.items())]
    return Receipt(
        "; ".join(words),
        number,
        accepted,
        refused={who: why for who, why in told.items() if refused[who][0] >= PERMANENT},
        later={who: why for who, why in told.items() if refused[who][0] < PERMANENT},
    )


def _refused(recipients: dict[str, tuple[int, bytes]]) -> DeliveryError:
    permanent = all(code >= PERMANENT for code, _ in recipients.values())
    told = "; ".join(f"{address}: {code} {_text(reason)}" for address, (code, reason) in recipients.items())
    return DeliveryError(Failure.PERMANENT if permanent else Failure.TRANSIENT, f"refused: {told}")


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
