"""The records of alerting: Alert, Change (its event), Message and Notification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from alerts.catalogue import Tongue, said
from domain.finding import Severity
from domain.units import format_local_minute


class State(StrEnum):
    """The state of an alert."""

    PENDING = "pending"
    """Found, but not as often or as long as its threshold requires: nobody is notified."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """The reason of an event, and of the notification it may cause."""

    PENDING = "pending"
    OPENED = "opened"
    REOPENED = "reopened"
    RAISED = "severity_raised"
    CHANGED = "severity_changed"
    """The severity fell, or returned to a notified one: messages are updated, nobody is called."""
    REPEATED = "repeat"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    FLAPPING = "flapping"
    UNMUTED = "unmuted"
    """Notified after a silence, a maintenance window or an inhibition has ended."""
    SEEN = "seen"
    WITHDRAWN = "withdrawn"
    """A pending alert ended; nobody had been notified."""
    RESOLVED = "resolved"
    CHANNEL_TEST = "channel_test"
    REPORT = "report"


UNRECORDED = "unrecorded"
"""The detail of a message that was sent while nothing could be recorded."""

OPENING = frozenset({Reason.OPENED, Reason.REOPENED, Reason.UNMUTED, Reason.FLAPPING})
"""Reasons of a first message about an alert, or of a first one again."""
NOTIFYING = OPENING | {
    Reason.RAISED,
    Reason.CHANGED,
    Reason.REPEATED,
    Reason.ESCALATED,
    Reason.ACKNOWLEDGED,
    Reason.RESOLVED,
    Reason.CHANNEL_TEST,
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One problem from its first finding to its end; at most one open alert per fingerprint."""

    fingerprint: str
    kind: str
    cluster: str
    database: str
    object: str
    task: str
    state: State
    severity: Severity
    summary: str
    remedy: str
    evidence: Mapping[str, Any]
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int = 1
    failures: int = 1
    """Consecutive looks that found it."""
    passes: int = 0
    """Consecutive looks that did not find it."""
    generation: int = 0
    """How often it has fired; a recurring alert keeps its number."""
    fired_at: datetime | None = None
    transitions: tuple[datetime, ...] = ()
    """Recent instants at which it fired or ended, for flap detection."""
    peak_severity: Severity = Severity.INFO
    """The highest severity notified since it fired."""
    flapping: bool = False
    suppressed_by: str = ""
    """The silence, window or inhibition that suppresses its notifications; empty if none."""
    escalation: int = 0
    """Number of escalation steps notified."""
    next_repeat_at: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_until: datetime | None = None
    resolved_at: datetime | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The effect of one look on one alert, the channels to notify, and the event to record."""

    alert: Alert
    reason: Reason
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """A long message: text, HTML, and base64 PNGs shown as `cid:name`."""

    text: str
    html: str
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One alert in a message about several."""

    alert: int
    severity: Severity
    title: str
    summary: str
    over: bool = False
    note: str = ""
    """Additional information: that it recurred, or who acknowledged it."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """The content of a notification: redacted, but not escaped for a channel."""

    instance: str
    severity: Severity
    reason: Reason
    kind: str
    type: str
    title: str
    summary: str
    database: str
    object: str
    remedy: str
    occurred_at: datetime
    task: str = ""
    alert: int | None = None
    fingerprint: str = ""
    generation: int = 1
    opened_at: datetime | None = None
    acknowledged_by: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    action_required: bool = False
    letter: Letter | None = None
    lines: tuple[Line, ...] = ()
    """The alerts of a message about several, highest severity first."""
    zone: str = "UTC"
    """The time zone of the times in its text; `occurred_at` itself is an instant."""
    url: str = ""
    """The address of the alert on the status page; empty without one."""
    language: Tongue = "en"
    """The language of its texts, that of its readers."""

    def said(self, text: str, **values: str | int) -> str:
        """Return a text of the program in the language of the message."""
        return said(self.language, text, **values)

    def local_time(self, instant: datetime) -> str:
        """Return an instant to the minute in the zone of the message, with the zone."""
        return format_local_minute(instant, self.zone)

    @property
    def over(self) -> bool:
        """Return whether everything in the message is resolved."""
        return self.reason is Reason.RESOLVED


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one channel; its id is the same on every copy."""

    id: str
    channel: str
    message: Message
    created_at: datetime
    attempts: int = 0
    thread: str = ""
    """The channel's id of its first message about this alert."""
    recipients: tuple[str, ...] = ()
    """Recipients that have not accepted it yet; empty for all."""
    members: tuple[str, ...] = ()
    """The outbox rows that this delivery settles."""
    again: bool = False
    """An earlier copy may have been accepted: the answer was lost, or the process died."""
    edits_to_make: tuple[tuple[str, Message], ...] = ()
    """Earlier first messages of this channel to update, with their new content."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer of a channel that accepted a message."""

    words: str
    """A description of the acceptance, for people."""
    remote: str = ""
    """The channel's id of the message."""
    accepted: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Recipients that permanently refuse it, with the reason."""
    later: Mapping[str, str] = field(default_factory=dict)
    """Recipients that may accept it later, with the reason."""
    replaced: bool = False
    """The former remote object is gone; `remote` replaces it."""


@dataclass(frozen=True, slots=True)
class Thread:
    """The first message of a channel about an alert: its remote id, empty if none, and title."""

    remote: str
    subject: str
    open: bool
    """Whether the alert is open; a resolved one would be reopened."""
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class UnrecordedCopy:
    """A notification sent while nothing could be recorded: its id, and what became of it."""

    id: str
    sent_at: datetime
    receipt: Receipt | None = None
    """None if the channel has not accepted it."""
