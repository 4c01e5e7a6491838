"""The results of checks as a Nagios plugin prints them: one line, a line per finding, an exit code.

See the Monitoring Plugins Development Guidelines: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum

from domain.finding import Finding, Severity

MOST_LINES = 50


class State(IntEnum):
    """The exit codes of a plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def nagios_output(findings: Sequence[Finding], failures: Sequence[str]) -> tuple[str, State]:
    """Return the text and the exit code; a check that did not run is UNKNOWN."""
    counts = Counter(finding.severity for finding in findings)
    state = State.UNKNOWN if failures else State.OK
    if counts[Severity.WARNING] and not failures:
        state = State.WARNING
    if counts[Severity.CRITICAL] or counts[Severity.HIGH]:
        state = State.CRITICAL
    listed = sorted(findings, key=lambda one: -one.severity.rank)
    lines = [*(_line(one) for one in listed if one.severity > Severity.INFO), *failures]
    first = _plain(lines[0]) if lines else "nothing found"
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    numbers = " ".join(f"{one.value}={counts[one]}" for one in reversed(Severity))
    text = [f"SERENO {state.name} - {first}{more} | {numbers}"]
    return "\n".join([*text, *map(_plain, lines[1:MOST_LINES])]), state


def _line(finding: Finding) -> str:
    identity = finding.identity
    place = " ".join(filter(None, (identity.database, identity.object)))
    return f"{finding.severity.value.upper()} {finding.kind} {place}: {finding.summary}"


def _plain(text: str) -> str:
    """Return text on one line, without the character that begins the numbers."""
    return " ".join(text.replace("|", "/").split())
