"""Runs the chart process; without charts the report is sent as text."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from daemon.report.report import Report

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.2

_log = structlog.get_logger("report")


def _local(report: Report, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with their local time as if it were UTC: the charts know no zone."""
    zone = report.until.tzinfo
    return [
        (datetime.fromtimestamp(at, zone).replace(tzinfo=UTC).timestamp(), value)
        for at, value in points
    ]


def draw(report: Report, proceed: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Return the PNGs by name. `proceed` is called while waiting and may raise."""
    asked = {
        "sizes": {name: _local(report, points) for name, points in report.sizes.items()},
        "disks": {name: _local(report, points) for name, points in report.disks.items()},
        "trends": report.trends,
        "tables": [(table.what, table.now) for table in report.tables],
    }
    try:
        with tempfile.TemporaryDirectory(prefix="sereno-charts-") as scratch:
            answer, message = _asked(json.dumps(asked), scratch, proceed)
    except OSError as error:
        answer, message = "", str(error)
    if not answer:
        _log.warning("report.charts_failed", message=message.strip().splitlines()[-1:])
        return {}
    drawn: dict[str, str] = json.loads(answer)
    return drawn


def _asked(figures: str, scratch: str, proceed: Callable[[], object]) -> tuple[str, str]:
    """Return the child's answer, or nothing and its error output.

    The figures are a file: after a timeout communicate() does not send the rest of a long input.
    """
    home = os.environ.get("CACHE_DIRECTORY", scratch)  # matplotlib keeps its font cache here
    path = Path(scratch) / "figures.json"
    path.write_text(figures, "utf-8")
    # -P: import no module from the current directory
    command = [sys.executable, "-P", "-m", "daemon.report.charts"]
    environment = {**os.environ, "MPLCONFIGDIR": home, "MPLBACKEND": "Agg"}
    with path.open("rb") as given:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
    try:
        answer, message = _communicate(process, proceed)
    finally:
        process.kill()
        process.wait()
    return ("", message) if process.returncode else (answer, message)


def _communicate(
    process: "subprocess.Popen[str]", proceed: Callable[[], object]
) -> tuple[str, str]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            proceed()
    return "", f"no answer in {PATIENCE_SECONDS:.0f} s"
