"""What the night came to: told from what the history has and what each sink has really received."""

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.console import print_table
from daemon.demo.faults import FAULTS
from daemon.demo.page import page
from daemon.demo.received import Received, received


@dataclass(frozen=True, slots=True)
class DemoRun:
    """Its folder, its runs (as `sereno history --json` tells them), the faults left out, and two facts."""

    kept: Path
    runs: Sequence[Mapping[str, Any]]
    without: Collection[str]
    version: str
    seconds: float


def show_summary(console: Console, night: DemoRun) -> None:
    """Print it, write the page, and end with the path of the health report."""
    messages = received(night.kept)
    rows = [(one.channel, one.severity, one.title, one.file.name) for one in messages]
    print_table(
        "Received (read back from what each sink kept)",
        ("channel", "severity", "message", "file"),
        rows,
    )
    faults = [_noticed(name, night.runs, messages) for name in FAULTS if name not in night.without]
    print_table(
        "Planted faults",
        ("fault", "noticed", "how", "told to"),
        [
            (row["what"], "yes" if row["noticed"] else "NO", row["how"], row["told"])
            for row in faults
        ],
    )
    report = next(
        step["object"]
        for run in night.runs
        if run["job"] == "health_report"
        for step in run["steps"]
    )
    index = night.kept / "index.html"
    index.write_text(
        page(
            {
                "faults": faults,
                "runs": night.runs,
                "messages": messages,
                "version": night.version,
                "seconds": night.seconds,
                "folder": night.kept,
                "report": Path(report),
            }
        )
    )
    console.print(
        f"{night.seconds:.1f} s; the night on one page, with every raw message beside it:",
        style="dim",
    )
    console.out(str(index), highlight=False)
    console.print("the health report, as the mail brought it:", style="dim")
    console.out(report, highlight=False)


def _noticed(
    name: str, runs: Sequence[Mapping[str, Any]], messages: Sequence[Received]
) -> dict[str, Any]:
    fault = FAULTS[name]
    if fault.cured:
        steps = [
            step
            for run in runs
            if run["job"] == fault.kind
            for step in run["steps"]
            if step["object"] == fault.object
        ]
        noticed = any(step["status"] == "done" for step in steps)
        return {
            "what": fault.what,
            "noticed": noticed,
            "how": f"cured by {fault.kind}",
            "told": "nobody: it is over",
        }
    found = [
        finding
        for run in runs
        for finding in run["findings"]
        if finding["kind"] == fault.kind and finding["object"] == fault.object
    ]
    told = [
        one.channel
        for one in messages
        if one.reason not in {"report", "resolved"}
        and fault.kind in one.text
        and fault.object in html.unescape(one.text)
    ]
    return {
        "what": fault.what,
        "noticed": bool(found and told),
        "how": f"found by {fault.kind}",
        "told": ", ".join(told),
    }
