"""Runs the chart process; without charts the report is sent as text."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

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
        "nights": report.nights,
        "sizes": {name: _local(report, points) for name, points in report.sizes.items()},
        "tables": [asdict(table) for table in report.tables],
    }
    try:
        with tempfile.TemporaryDirectory(prefix="sereno-charts-") as scratch:
            answer, message = _asked(json.dumps(asked, default=str), scratch, proceed)
    except OSError as error:
        answer, message = "", str(error)
    if not answer:
        _log.warning("report.charts_failed", message=message.strip().splitlines()[-1:])
        return {}
    drawn: dict[str, str] = json.loads(answer)
    return drawn


def _asked(figures: str, scratch: str, proceed: Callable[[], object]) -> tuple[str, str]:
    """Return the child's answer, or nothing and its error output."""
    home = os.environ.get("CACHE_DIRECTORY", scratch)  # matplotlib keeps its font cache here
    # -P: import no module from the current directory
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "daemon.report.charts",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "MPLCONFIGDIR": home, "MPLBACKEND": "Agg"},
        text=True,
    )
    try:
        answer, message = _communicate(process, figures, proceed)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        return ("", message)
    return (answer, message)


def _communicate(
    process: "subprocess.Popen[str]", asked: str, proceed: Callable[[], object]
) -> tuple[str, str]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    text: str | None = asked
    while time.monotonic() < deadline:
        try:
            return process.communicate(text, timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            text = None  # the input is sent already; communicate() continues
            proceed()
    return "", f"no answer in {PATIENCE_SECONDS:.0f} s"
