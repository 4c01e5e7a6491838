"""Findings as terminal lines: severity, place and object, then summary and remedy."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from daemon.cli.output import name_or_own_line, paint, prose, severity_label, verbatim
from domain.finding import Severity

SQL_WORDS = ("ALTER", "CREATE", "DELETE", "DROP", "GRANT", "REINDEX", "SELECT", "UPDATE", "VACUUM")

_STATEMENT = re.compile(r"""(?:[^;"']|"(?:[^"]|"")*"|'(?:[^']|'')*')*;(?= )""")
"""The first of several statements; a semicolon in a name or text does not end it."""


def print_findings(findings: Sequence[Mapping[str, Any]], least: Severity = Severity.INFO) -> None:
    """Print findings from `least` on, the highest severity first; equal ones once."""
    shown: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for one in sorted(findings, key=lambda one: -Severity(one["severity"]).rank):
        if Severity(one["severity"]) >= least:
            key = ("kind", "database", "object", "summary")
            shown.setdefault(tuple(str(one[name]) for name in key), one)
    for one in shown.values():
        print_finding(one)


def print_finding(finding: Mapping[str, Any]) -> None:
    """Print one finding."""
    label = severity_label(Severity(finding["severity"]))
    place = finding["database"] or "host"
    head = f"{label} {place}  {finding['kind']}"
    name_or_own_line(head, finding["object"], hanging=2)
    prose(finding["summary"], indent=2)
    if finding["remedy"]:
        _print_remedy(finding["remedy"])


def _print_remedy(remedy: str) -> None:
    """Print a statement so that it can be copied, and any other text wrapped."""
    if not remedy.startswith(SQL_WORDS):
        prose(remedy, indent=4, style="cyan")
        return
    found = _STATEMENT.match(remedy)
    statement, rest = (found[0], remedy[found.end() :].strip()) if found else (remedy, "")
    verbatim(paint(statement, "cyan"), indent=4)
    if rest:
        prose(rest, indent=4, style="cyan")


def count_by_severity(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of findings per severity, highest first: `1 critical, 2 warning`."""
    keys = ("severity", "kind", "database", "object")
    distinct = {tuple(str(one[key]) for key in keys) for one in findings}
    severities = [Severity(one[0]) for one in distinct]
    parts = [f"{severities.count(one)} {one.value}" for one in reversed(Severity)]
    return ", ".join(part for part in parts if not part.startswith("0 "))
