"""Makes the letter: draws, writes, keeps the page in its folder. As a step, and for `sereno report`."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alerts.alert import Letter, Message, Reason
from daemon.report.draw import draw
from daemon.report.render import letter, page, title
from daemon.report.report import Report
from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Session
from store.file_lock import belong

LIMIT_SECONDS = 300.0


def write(report: Report, proceed: Callable[[], object] = lambda: None) -> Letter:
    """Draw and write it; `proceed` may end the drawing by raising."""
    return letter(report, draw(report, proceed))


def keep(written: Letter, path: Path) -> None:
    """Put the page there, whole or not at all; no link is followed. OSError as the file system says."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page(written))
        belong(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def message(report: Report, written: Letter) -> Message:
    """Return the letter as what a channel is given; one that knows no letters says the sentence."""
    return Message(
        instance=report.instance,
        severity=report.worst,
        reason=Reason.REPORT,
        kind="health_report",
        type="HEALTH_REPORT",
        title=title(report),
        summary=report.sentence,
        database="",
        object="",
        remedy="",
        occurred_at=report.until,
        letter=written,
    )


@dataclass(frozen=True, slots=True)
class Publication:
    """The letter as the one step of the health report: a file, and what is owed to the channels that take it."""

    report: Report
    folder: Path
    channels: tuple[str, ...]
    name: str = "report"
    lock: str = ""
    predicted_seconds: float = 0.0
    limit_seconds: float = LIMIT_SECONDS
    alone: bool = False

    @property
    def object(self) -> str:
        """The file."""
        return str(self.folder / f"{self.report.until:%Y-%m-%d}.html")

    @property
    def why(self) -> str:
        """Its one sentence."""
        return self.report.sentence

    def statement(self) -> str:
        """Nothing is asked of a server."""
        return f"-- writes {self.object}; sends it to: {', '.join(self.channels) or 'nobody'}"

    def apply(self, _session: Session | None, pace: Pace) -> Outcome:
        """Write the file; the message is handed on to be owed in the transaction that records this."""
        written = write(self.report, pace.proceed)
        if not self.folder.exists():
            self.folder.mkdir(mode=0o750, parents=True)
            belong(self.folder)
        keep(written, Path(self.object))
        size = Path(self.object).stat().st_size
        return Outcome(Status.DONE, bytes=size, found=(asdict(written),))

    def messages(self, found: Mapping[str, Any]) -> tuple[tuple[Message, str], ...]:
        """Return what is owed for what `apply` has written."""
        said = message(self.report, Letter(**found))
        return tuple((said, channel) for channel in self.channels)
