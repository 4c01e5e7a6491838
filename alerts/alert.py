"""The three records: what happened (Event), what is open (Alert), what is owed to whom (Notification)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from checks.finding import Severity


class State(StrEnum):
    """Where an alert stands."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why something is told, or (seen, lowered) only written down."""

    OPENED = "opened"
    RAISED = "severity_raised"
    LOWERED = "severity_lowered"
    REPEATED = "repeat"
    SEEN = "seen"
    RESOLVED = "resolved"
    DRILL = "drill"
    REPORT = "report"


TOLD = frozenset({Reason.OPENED, Reason.RAISED, Reason.REPEATED, Reason.RESOLVED, Reason.DRILL})


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
    next_repeat_at: datetime | None = None
    acknowledged_by: str = ""
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
    alert: int | None = None
    fingerprint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    action_required: bool = False
    letter: Letter | None = None


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
    recipients: tuple[str, ...] = ()
    """Who has not taken it yet, where some have; empty: everybody."""


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
