"""One table of wording and colour per severity and per reason, complete by construction.

A new member of either enum makes the type checker fail here, and nowhere else.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from alerts.alert import Reason
from domain.finding import Severity

RESOLVED_COLOUR = "#2f855a"
RESOLVED_MARK = "✅"


@dataclass(frozen=True, slots=True)
class SeverityWording:
    """The appearance of a severity in every medium."""

    colour: str
    """In HTML, readable on white."""
    style: str
    """On a terminal."""
    mark: str
    """In Slack."""
    level: Literal["info", "warning", "error", "critical"]
    """In the log, and in PagerDuty."""
    overall: Literal["green", "yellow", "orange", "red"]
    """The state of a sereno whose highest open alert has this severity."""


_INFO = SeverityWording("#3b6ea5", "cyan", "🔵", "info", "green")
_WARNING = SeverityWording("#a66a08", "yellow", "🟡", "warning", "yellow")
_HIGH = SeverityWording("#c05621", "bold red", "🟠", "error", "orange")
_CRITICAL = SeverityWording("#b00020", "bold red", "🔴", "critical", "red")


def severity_wording(severity: Severity) -> SeverityWording:
    """Return the wording of a severity."""
    match severity:
        case Severity.INFO:
            return _INFO
        case Severity.WARNING:
            return _WARNING
        case Severity.HIGH:
            return _HIGH
        case Severity.CRITICAL:
            return _CRITICAL
        case _:
            assert_never(severity)


def severity_colours() -> dict[Severity, str]:
    """Return the HTML colour of every severity, for templates."""
    return {severity: severity_wording(severity).colour for severity in Severity}


def reason_wording(reason: Reason) -> str:  # noqa: C901, PLR0911, PLR0912 - one case per reason
    """Return the words after a title that give the reason of a message; empty if not needed."""
    match reason:
        case Reason.OPENED | Reason.PENDING | Reason.SEEN | Reason.REPORT:
            return ""
        case Reason.REOPENED:
            return "firing again"
        case Reason.RAISED:
            return "severity raised"
        case Reason.CHANGED:
            return "severity changed"
        case Reason.REPEATED:
            return "still firing"
        case Reason.ESCALATED:
            return "still firing, unacknowledged"
        case Reason.ACKNOWLEDGED:
            return "acknowledged"
        case Reason.FLAPPING:
            return "flapping"
        case Reason.UNMUTED:
            return "still firing after a silence"
        case Reason.WITHDRAWN | Reason.RESOLVED:
            return "resolved"
        case Reason.CHANNEL_TEST:
            return "channel test"
        case _:
            assert_never(reason)
