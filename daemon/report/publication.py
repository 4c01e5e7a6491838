"""Publishing of the health report: charts, letter, page, and notifications."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from alerts.alert import Letter, Message, Reason
from alerts.catalogue import Tongue
from daemon.report.draw import draw
from daemon.report.language import language
from daemon.report.layout import sentence, title
from daemon.report.render import letter, page
from daemon.report.report import Report
from execution.control import StepControl
from execution.step import Evidence, HostStep, Outcome, Status
from store.file_lock import match_folder_owner, replace_file

LIMIT_SECONDS = 300.0


def save_page(written: Letter, path: Path) -> None:
    """Write the page atomically; links are not followed. Raises OSError."""
    replace_file(path, page(written), 0o640)


def report_message(report: Report, written: Letter, tongue: Tongue) -> Message:
    """Return the message; channels that cannot carry a letter send its sentence."""
    words = language(tongue)
    return Message(
        instance=report.instance,
        severity=report.worst,
        reason=Reason.REPORT,
        kind="health_report",
        type="HEALTH_REPORT",
        language=tongue,
        title=title(report, words),
        summary=sentence(report, words),
        database="",
        object="",
        remedy="",
        occurred_at=report.until,
        letter=written,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport(HostStep):
    """Writes the page of a report and enqueues it to its channels, each in its language."""

    report: Report
    folder: Path
    tongue: Tongue
    """The language of the page."""
    channels: Mapping[str, Tongue]
    """The language of each channel."""
    name: str = "report"
    limit_seconds: float = LIMIT_SECONDS

    @classmethod
    def of(
        cls, report: Report, folder: Path, tongue: Tongue, channels: Mapping[str, Tongue]
    ) -> Self:
        """Return the step that writes a report page into `folder` and enqueues it to `channels`."""
        return cls(
            object=str(folder / f"{report.until:%Y-%m-%d}.html"),
            why=sentence(report, language("en")),
            report=report,
            folder=folder,
            tongue=tongue,
            channels=channels,
        )

    def statement(self) -> str:
        """Return a comment: no statement is sent to a server."""
        return f"-- writes {self.object}; sends it to: {', '.join(self.channels) or 'nobody'}"

    def apply(self, control: StepControl) -> Outcome:
        """Write the page; the messages are enqueued in the transaction that records the step."""
        images = draw(self.report, control.wait_while_paused)
        letters = {
            tongue: letter(self.report, images, language(tongue))
            for tongue in sorted({self.tongue, *self.channels.values()})
        }
        if not self.folder.exists():
            self.folder.mkdir(mode=0o750, parents=True)
            match_folder_owner(self.folder)
        save_page(letters[self.tongue], Path(self.object))
        size = Path(self.object).stat().st_size
        found: Evidence = {tongue: asdict(written) for tongue, written in letters.items()}
        return Outcome(Status.DONE, bytes=size, found=(found,))

    def messages(self, found: Mapping[str, Any]) -> tuple[tuple[Message, str], ...]:
        """Return the messages for the letters that `apply` wrote."""
        return tuple(
            (report_message(self.report, Letter(**found[tongue]), tongue), channel)
            for channel, tongue in self.channels.items()
        )
