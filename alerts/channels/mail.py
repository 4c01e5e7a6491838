"""A message as an email: text and HTML, a constant Message-ID, threads. Pure."""

import base64
import re
from collections.abc import Iterable, Iterator
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from alerts.alert import Letter, Line, Message, Notification
from alerts.channels.channel import Sender
from alerts.wording import reason_wording, severity_colours
from domain.finding import Severity

if TYPE_CHECKING:
    from jinja2 import Template

MOST_LINES = 60
"""Some readers truncate a mail at about 100 kB; a longer list is attached."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def compose(notification: Notification, sender: str, to: str, by: Sender) -> EmailMessage:
    """Return the mail; only the first word of its subject changes during an alert's life."""
    message, instance = notification.message, by.instance
    subject = header(f"{_first_word(message)}sereno {instance}: {message.title}")
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = header(sender)
    mail["To"] = header(to)
    mail["Date"] = format_datetime(message.occurred_at)
    mail["Message-ID"] = f"<{notification.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = header(f"<{re.sub(r'[^A-Za-z0-9-]+', '-', instance)}.sereno>")
    mail["X-Sereno-Severity"] = message.severity.value
    mail["X-Sereno-Reason"] = message.reason.value
    if message.severity is Severity.CRITICAL and not message.over:
        mail["Importance"] = "high"
    if notification.thread:
        mail["In-Reply-To"] = mail["References"] = header(notification.thread)
    if message.letter is not None:
        _enclose(mail, message.letter)
        return mail
    mail.set_content(_plain(message, by.place))
    mail.add_alternative(_html(message, subject, by.place), subtype="html")
    if len(message.lines) > MOST_LINES:
        listed = "\n".join(_listed(message, message.lines))
        mail.add_attachment(listed, filename="alerts.txt", disposition="attachment")
    return mail


def header(text: str) -> str:
    """Return text without line breaks and control characters."""
    return _CONTROL.sub(" ", text).strip()


def _enclose(mail: EmailMessage, letter: Letter) -> None:
    mail.set_content(letter.text)
    mail.add_alternative(letter.html, subtype="html")
    parts = list(mail.iter_parts())
    for name, image in letter.images.items():
        parts[1].add_related(
            base64.b64decode(image),
            "image",
            "png",
            cid=f"<{name}>",
            filename=f"{name}.png",
            disposition="inline",
        )


def _first_word(message: Message) -> str:
    """Return the severity, or that it is over, to sort mails by."""
    if message.letter is not None:
        return ""
    word = "resolved" if message.over else message.severity.value
    return f"[{message.said(word).upper()}] "


def _headline(message: Message) -> str:
    severity = message.said(message.severity.value).upper()
    if message.over:
        return message.said("RESOLVED (was {severity})", severity=severity)
    word = reason_wording(message.reason)
    return f"{severity}{f': {message.said(word)}' if word else ''}"


def _rows(message: Message, place: str) -> Iterator[tuple[str, str]]:
    """Yield the detail rows of both parts; `place` is where the command line of sereno is."""
    said = message.said
    yield said("database"), message.database
    yield said("object"), message.object
    if message.acknowledged_by:
        yield said("acknowledged by"), message.acknowledged_by
    yield from ((said(name), value) for name, value in message.details.items())
    yield said("at"), message.local_time(message.occurred_at)
    where = f" ({said('as {place}', place=place)})" if place else ""
    if numbers := _acknowledgeable(message):
        yield said("acknowledge"), f"sereno alerts ack {' '.join(map(str, numbers))}{where}"
    if message.url:
        yield said("page"), message.url
    if message.lines:
        yield said("all alerts"), f"sereno alerts list{where}"


def _acknowledgeable(message: Message) -> list[int]:
    """Return the numbers of the alerts of a message that are open, the first ones of many."""
    if message.lines:
        return [line.alert for line in message.lines if not line.over][:MOST_LINES]
    return [message.alert] if message.alert is not None and not message.over else []


def _listed(message: Message, lines: Iterable[Line]) -> Iterator[str]:
    said = message.said
    for line in lines:
        note = ""
        if line.note:
            note = f" ({line.note})"
        state = said("resolved" if line.over else line.severity.value)
        yield f"#{line.alert} {state}: {line.title} - {line.summary}{note}"
        if line.remedy:
            yield f"    {said('remedy')}: {line.remedy}"


def _plain(message: Message, place: str) -> str:
    said, remedy = message.said, []
    if message.remedy and not message.over:
        remedy = [f"{said('remedy')}: {message.remedy}"]
    lines = list(_listed(message, message.lines[:MOST_LINES]))
    if len(message.lines) > MOST_LINES:
        more = len(message.lines) - MOST_LINES
        lines.append(said("and {n} more: all of them stand in the attachment.", n=more))
    rows = [f"{name}: {value}" for name, value in _rows(message, place) if value]
    head = [f"{_headline(message)} - {message.title}", "", message.summary, ""]
    return "\n".join([*head, *remedy, *lines, *([""] if lines else []), *rows, ""])


def _html(message: Message, subject: str, place: str) -> str:
    rows = [(name, value) for name, value in _rows(message, place) if value]
    shown = {"message": message, "subject": subject, "headline": _headline(message), "rows": rows}
    return _template().render(**shown, colours=severity_colours(), most=MOST_LINES)


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("alerts.channels") / "alert.html").read_text("utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)
