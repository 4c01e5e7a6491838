"""Publishing of the health report: charts, letter, page, and notifications."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from alerts.alert import Letter, Message, Reason
from daemon.report.draw import draw
from daemon.report.render import letter, page, title
from daemon.report.report import Report
from execution.control import StepControl
from execution.step import HostStep, Outcome, Status
from store.file_lock import match_folder_owner

LIMIT_SECONDS = 300.0


def write_letter(report: Report, proceed: Callable[[], object] = lambda: None) -> Letter:
    """Return the letter with its charts; `proceed` may end the drawing by raising."""
    return letter(report, draw(report, proceed))


def save_page(written: Letter, path: Path) -> None:
    """Write the page atomically; links are not followed. Raises OSError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640
    )
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page(written))
        match_folder_owner(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def report_message(report: Report, written: Letter) -> Message:
    """Return the message; channels that cannot carry a letter send its sentence."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport(HostStep):
    """Writes the page of a report and enqueues it to its channels."""

    report: Report
    folder: Path
    channels: tuple[str, ...]
    name: str = "report"
    limit_seconds: float = LIMIT_SECONDS

    @classmethod
    def of(cls, report: Report, folder: Path, channels: tuple[str, ...]) -> Self:
        """Return the step that writes a report page into `folder` and enqueues it to `channels`."""
        page = folder / f"{report.until:%Y-%m-%d}.html"
        return cls(
            object=str(page), why=report.sentence, report=report, folder=folder, channels=channels
        )

    def statement(self) -> str:
        """Return a comment: no statement is sent to a server."""
        return f"-- writes {self.object}; sends it to: {', '.join(self.channels) or 'nobody'}"

    def apply(self, control: StepControl) -> Outcome:
        """Write the page; the message is enqueued in the transaction that records the step."""
        written = write_letter(self.report, control.wait_while_paused)
        if not self.folder.exists():
            self.folder.mkdir(mode=0o750, parents=True)
            match_folder_owner(self.folder)
        save_page(written, Path(self.object))
        size = Path(self.object).stat().st_size
        return Outcome(Status.DONE, bytes=size, found=(asdict(written),))

    def messages(self, found: Mapping[str, Any]) -> tuple[tuple[Message, str], ...]:
        """Return the messages for the letter that `apply` wrote."""
        message = report_message(self.report, Letter(**found))
        return tuple((message, channel) for channel in self.channels)
