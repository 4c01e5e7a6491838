"""The demo's output: its stages, the planted faults, and the files to look at."""

import html
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from daemon.demo.faults import FAULTS, Fault
from daemon.demo.page import page
from daemon.demo.received import Received, received

WIDTH = 80


@dataclass(frozen=True, slots=True)
class DemoRun:
    """A finished demo: folder, runs, faults left out, server version and duration."""

    kept: Path
    runs: Sequence[Mapping[str, Any]]
    without: Collection[str]
    version: str
    seconds: float


@dataclass(slots=True)
class Stage:
    """A stage in progress; `text` is printed when it has ended."""

    text: str


class Stages:
    """Prints one line per stage with its duration; shows a spinner on a terminal meanwhile."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, text: str) -> Iterator[Stage]:
        """Time the body."""
        began, stage = time.monotonic(), Stage(text)
        if self._console.is_terminal:
            with self._console.status(text):
                yield stage
        else:
            yield stage
        seconds = f"{time.monotonic() - began:.0f} s"
        room = WIDTH - 5 - 7
        typer.echo(f" ok  {stage.text[:room]:<{room}}{seconds:>7}")


def describe_runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of runs, rows and findings."""
    rows = sum(
        step["rows"]
        for run in runs
        for step in run["steps"]
        if step["name"] in {"delete", "archive", "vacuum"}
    )
    findings = sum(len(run["findings"]) for run in runs)
    return f"{len(runs)} runs, {rows:,} rows removed, findings: {findings}"


def show_summary(demo: DemoRun) -> None:
    """Print the faults and the paths, and write the page."""
    messages = received(demo.kept)
    channels = Counter(one.channel for one in messages)
    sent = ", ".join(f"{name} {count}" for name, count in sorted(channels.items()))
    typer.echo(f" ok  {len(messages)} messages received: {sent}")
    faults = [_noticed(name, demo.runs, messages) for name in FAULTS if name not in demo.without]
    noticed = sum(fault["noticed"] for fault in faults)
    typer.echo(f"\n{noticed} of {len(faults)} planted faults noticed")
    for fault in sorted(faults, key=lambda fault: str(fault["how"])):
        verb = "MISSED"
        if fault["noticed"]:
            verb = str(fault["how"]).partition(" ")[0]
        by = fault["notified"] or str(fault["how"]).rpartition(" ")[2]
        typer.echo(f"  {verb:<7} {fault['what']!s:<52.52} {by}")
    report = next(
        step["object"]
        for run in demo.runs
        if run["job"] == "health_report"
        for step in run["steps"]
    )
    index = demo.kept / "index.html"
    values = {
        "faults": faults,
        "runs": demo.runs,
        "messages": messages,
        "version": demo.version,
        "seconds": demo.seconds,
        "folder": demo.kept,
        "report": Path(report),
    }
    index.write_text(page(values))
    typer.echo(f"\nAll results and messages on one page ({demo.seconds:.1f} s in all):")
    typer.echo(f"  {index}")
    typer.echo("The health report:")
    typer.echo(f"  {report}")
    typer.echo('Next, for your own database: README.md, "Install"')


def _noticed(
    name: str, runs: Sequence[Mapping[str, Any]], messages: Sequence[Received]
) -> dict[str, Any]:
    fault = FAULTS[name]
    if fault.cured:
        done = (fault.kind, fault.object, "done")
        steps = {
            (run["job"], step["object"], step["status"]) for run in runs for step in run["steps"]
        }
        how = f"cured by {fault.kind}"
        return {"what": fault.what, "noticed": done in steps, "how": how, "notified": ""}
    findings = {(one["kind"], one["object"]) for run in runs for one in run["findings"]}
    found = (fault.kind, fault.object) in findings
    notified = [one.channel for one in messages if _is_about(one, fault)]
    return {
        "what": fault.what,
        "noticed": bool(found and notified),
        "how": f"found by {fault.kind}",
        "notified": ", ".join(dict.fromkeys(notified)),
    }


def _is_about(message: Received, fault: Fault) -> bool:
    """Return whether a message is about a fault; reports and resolutions do not count."""
    if message.reason in {"report", "resolved"}:
        return False
    return fault.kind in message.text and fault.object in html.unescape(message.text)
