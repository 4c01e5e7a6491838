"""Tables for people, JSON for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from alerts.alert import Alert
from alerts.policy import Matcher, Silence
from daemon.cli.options import print_json
from daemon.cli.read_only_checks import CheckResults
from daemon.console import STYLES, format_minute, print_findings, print_table
from daemon.context import Context
from daemon.history import history
from daemon.runs.runner import FinishedRun
from domain.finding import Finding, Severity
from domain.redaction import redact
from store.store import Row


def show_night(context: Context, ran: Sequence[FinishedRun], *, as_json: bool) -> Severity | None:
    """Show what was done and found; return the worst severity."""
    with context.store.reading() as transaction:
        runs = [
            (
                run,
                history.load_steps(transaction, one.number),
                history.load_findings(transaction, one.number),
            )
            for one in ran
            if (run := history.load_run(transaction, one.number))
        ]
    found = [finding for _, _, findings in runs for finding in findings]
    if as_json:
        print_json([{**run, "steps": steps, "findings": findings} for run, steps, findings in runs])
    else:
        print_table(
            "Runs", ("run", "job", "database", "state", "reason"), [_run(run) for run, _, _ in runs]
        )
        done = [(run["job"], *_step(step)) for run, steps, _ in runs for step in steps]
        print_table("Done", ("job", "step", "object", "status", "rows", "seconds", "reason"), done)
        print_findings(_finding(row) for row in found)
    return max((Severity(row["severity"]) for row in found), default=None)


def _run(row: Row) -> tuple[object, ...]:
    return (
        row["id"],
        row["job"],
        row["database"] or f"({row['scope']})",
        row["state"],
        row["reason"],
    )


def _step(row: Row) -> tuple[object, ...]:
    reason = row["reason"]
    if row["paused_by"]:
        reason += f" (paused {float(str(row['paused_seconds'])):.1f} s: {row['paused_by']})"
    return (
        row["name"],
        row["object"],
        row["status"],
        row["rows"],
        f"{float(str(row['seconds'])):.2f}",
        reason.strip(),
    )


def _finding(row: Row) -> tuple[str, str, str, str, str]:
    return row["severity"], row["kind"], row["object"], row["summary"], row["remedy"]


def show_runs(runs: Sequence[Row], *, as_json: bool) -> None:
    """Show the newest runs."""
    if as_json:
        print_json(runs)
        return
    rows = [(*_run(run)[:4], format_minute(run["started_at"]), run["reason"]) for run in runs]
    print_table("History (UTC)", ("run", "job", "database", "state", "started", "reason"), rows)


def show_run(run: Row, steps: Sequence[Row], findings: Sequence[Row]) -> None:
    """Show one run of the history."""
    console = Console()
    for name, value in run.items():
        if value not in {None, "", 0}:
            shown = f"{format_minute(value)} UTC" if name.endswith("_at") else str(value)
            console.print(
                Text.assemble(
                    (f"{name.replace('_', ' '):<16}", "dim"), (shown, STYLES.get(shown, ""))
                )
            )
    print_table(
        "Steps",
        ("step", "object", "status", "rows", "seconds", "reason"),
        [_step(step) for step in steps],
    )
    print_findings(_finding(row) for row in findings)


def show_findings(looked: CheckResults, *, as_json: bool) -> None:
    """Show what `check` has seen."""
    if as_json:
        print_json(
            {
                "findings": [as_dict(one) for one in looked.findings],
                "unseen": looked.unseen,
                "failed": looked.failed,
            }
        )
        return
    ordered = sorted(looked.findings, key=lambda finding: -finding.severity.rank)
    print_findings(
        (one.severity.value, one.kind, _place(one), one.summary, one.remedy) for one in ordered
    )
    console = Console(stderr=True)
    for line in looked.unseen:
        console.print(Text(f"not seen: {line}", style="dim"))
    for line in looked.failed:
        console.print(Text(f"failed: {line}", style="bold red"))


def _place(finding: Finding) -> str:
    return " ".join(part for part in (finding.identity.database, finding.identity.object) if part)


def as_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding for JSON."""
    identity = finding.identity
    return {
        "check": finding.kind,
        "severity": finding.severity.value,
        "database": identity.database,
        "object": identity.object,
        "summary": finding.summary,
        "value": finding.value,
        "remedy": finding.remedy,
        "fingerprint": identity.fingerprint(),
        "evidence": dict(finding.evidence),
    }


def subject(row: Row) -> str:
    """Say what an alert is about, and where."""
    return " ".join(filter(None, (str(row[key]) for key in ("kind", "database", "object"))))


def as_row(alert: Alert) -> dict[str, Any]:
    """Return an alert for a table or JSON."""
    return {
        "alert": alert.id,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "kind": alert.kind,
        "database": alert.database,
        "object": redact(alert.object or alert.task),
        "summary": redact(alert.summary),
        "opened": f"{alert.opened_at:%Y-%m-%d %H:%M:%S}",
        "seen": alert.occurrences,
        "acknowledged_by": redact(alert.acknowledged_by),
        "fingerprint": alert.fingerprint,
    }


def _listed(value: str | tuple[str, ...]) -> str:
    return (value if isinstance(value, str) else ", ".join(value)) or "none"


def quiet_row(silence: Silence) -> dict[str, Any]:
    """Return a silence, or a maintenance window (0), for a table or JSON."""
    usual = asdict(Matcher())
    given = {name: value for name, value in asdict(silence.matcher).items() if value != usual[name]}
    return {
        "silence": silence.id,
        "what": ", ".join(f"{name} {_listed(value)}" for name, value in given.items()) or "all",
        "until": f"{silence.ends_at:%Y-%m-%d %H:%M}",
        "author": silence.author,
        "reason": silence.reason,
    }
