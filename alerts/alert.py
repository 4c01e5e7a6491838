"""The three records: what happened (Event), what is open (Alert), what is owed to whom (Notification)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.finding import Severity


class State(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    """Found, but not yet as often or as long as its rule asks for: nobody is told."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why something is told, or only written down."""

    PENDING = "pending"
    OPENED = "opened"
    REOPENED = "reopened"
    RAISED = "severity_raised"
    CHANGED = "severity_changed"
    """It is better, or as bad as before: what was said of it is brought up to date, and nobody is called."""
    REPEATED = "repeat"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    FLAPPING = "flapping"
    UNMUTED = "unmuted"
    """What a silence, a window or another trouble kept back is told now, for it is still so."""
    SEEN = "seen"
    WITHDRAWN = "withdrawn"
    """It was pending, and is over: nobody knew of it."""
    RESOLVED = "resolved"
    DRILL = "drill"
    REPORT = "report"


BEGUN = frozenset({Reason.OPENED, Reason.REOPENED, Reason.UNMUTED, Reason.FLAPPING})
"""What a party hears first of an alert, or first again."""
TOLD = BEGUN | {
    Reason.RAISED,
    Reason.CHANGED,
    Reason.REPEATED,
    Reason.ESCALATED,
    Reason.ACKNOWLEDGED,
    Reason.RESOLVED,
    Reason.DRILL,
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One trouble from its first sight to its end. At most one open alert has a given fingerprint."""

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
    """How many looks in a row have found it."""
    passes: int = 0
    """How many looks in a row have not."""
    generation: int = 0
    """How often it has fired: it may be over and come back, and is the same alert."""
    fired_at: datetime | None = None
    turns: tuple[datetime, ...] = ()
    """When it lately began or ended."""
    peak: Severity = Severity.INFO
    """The worst that was told of it since it fired."""
    flapping: bool = False
    withheld: str = ""
    """What keeps it from being told, if there is something that nobody has heard."""
    escalation: int = 0
    """How many rungs of the ladder have been told."""
    next_repeat_at: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_until: datetime | None = None
    resolved_at: datetime | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one look did to one alert: the alert as it is now, why, and who is to hear of it. Its event, too."""

    alert: Alert
    reason: Reason
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """What is longer than an alert: its own text and HTML, and the PNGs (base64) that the HTML shows as `cid:name`."""

    text: str
    html: str
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One alert among several that a message stands for."""

    alert: int
    severity: Severity
    title: str
    summary: str
    over: bool = False
    note: str = ""
    """What a reader has to know besides: that it came and went, who has acknowledged it."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is given to say; scrubbed, but not escaped: that is the channel's, by its own rules."""

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
    """The alerts that it stands for, worst first, where they are several."""

    @property
    def over(self) -> bool:
        """Whether it says that all it is about is over."""
        return self.reason is Reason.RESOLVED


@dataclass(frozen=True, slots=True)
class Notification:
    """One message owed to one channel. Its id is the same on every copy that is ever sent."""

    id: str
    channel: str
    message: Message
    created_at: datetime
    attempts: int = 0
    thread: str = ""
    """What the channel called its first message about this alert."""
    subject: str = ""
    """The title that this first message had."""
    recipients: tuple[str, ...] = ()
    """Who has not taken it yet, where some have; empty: everybody."""
    members: tuple[str, ...] = ()
    """The rows of the outbox that it settles."""
    again: bool = False
    """A former copy may have been taken: the answer was lost, or we died before we knew."""
    roots: tuple[tuple[str, Message], ...] = ()
    """First messages of this channel that it makes out of date, and what they should say now."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the other side has said when it took a message."""

    words: str
    """What was accepted, for people."""
    remote: str = ""
    """What the other side calls it."""
    accepted: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Recipients that will never take it, and why."""
    later: Mapping[str, str] = field(default_factory=dict)
    """Recipients that may take it later, and why not now."""
    anew: bool = False
    """What it had called it before is gone: from now on it is this."""
