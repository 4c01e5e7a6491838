"""What a person at a terminal sees: bars while the work goes on, tables when it is done."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from domain.progress import StepProgress

STYLES = {
    "critical": "bold white on red", "high": "bold red", "warning": "yellow", "info": "cyan", "finished": "green",
    "done": "green", "failed": "bold red", "interrupted": "yellow", "window_ended": "yellow", "throttled": "yellow",
    "skipped": "dim", "ineffective": "yellow", "unfinished": "yellow", "firing": "red", "acknowledged": "yellow",
    "resolved": "green", "running": "cyan", "dead": "bold red", "pending": "yellow", "leased": "cyan",
}  # fmt: skip

UNBROKEN = frozenset(
    {"job", "check", "status", "state", "severity", "channel", "rows", "seconds", "noticed", "step"}
)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; words of state and severity are coloured, names are never taken for markup."""
    found = list(rows)
    if not found:
        Console().print(Text(f"{title}: nothing", style="bold"))
        return
    drawn = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", expand=False
    )
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column in UNBROKEN)
    for row in found:
        drawn.add_row(*(Text(str(cell), style=STYLES.get(str(cell), "")) for cell in row))
    Console().print(drawn)


def print_findings(rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    """Print findings (severity, kind, object, what, what to do), each on lines of its own.

    The cure can be copied.
    """
    console = Console()
    found = list(dict.fromkeys(rows))
    console.print(Text(f"Found: {len(found) or 'nothing'}", style="bold"))
    for severity, kind, place, what, cure in found:
        line = Text.assemble(
            (f" {severity} ", STYLES.get(severity, "")), f" {kind}  ", (place, "bold")
        )
        console.print(line, soft_wrap=True)
        for text, style in ((what, ""), (cure and f"→ {cure}", "cyan")):
            if text:
                console.print(Text(f"    {text}", style=style), soft_wrap=True)


def format_minute(instant: object) -> str:
    """Write an instant of the state file so that a person reads it: to the second, in UTC."""
    return str(instant or "")[:19].replace("T", " ")


class Bars:
    """One bar for the run's steps, and how far those in progress are."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[job]}", style="bold"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", style="dim", markup=False),
            console=console,
            transient=False,
        )
        self._task: TaskID | None = None
        self._doing: dict[int, str] = {}
        """What each step in progress is at."""
        self._over: list[int] = []

    def __enter__(self) -> "Bars":
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()

    def run(self, job: str, database: str) -> None:
        """A run begins."""
        name = f"{job:<16} {database}"
        self._doing.clear()
        self._over.clear()
        self._task = self._progress.add_task(name, total=None, job=name, doing="looking")

    def finished(self, state: str, reason: str) -> None:
        """The run has ended."""
        if self._task is not None:
            done = self._progress.tasks[-1].completed
            self._progress.update(
                self._task, total=done or 1, completed=done or 1, doing=f"{state}  {reason}"[:100]
            )

    def begin(self, number: int, of: int, title: str) -> None:
        """A step begins; those that have ended make room."""
        for over in self._over:
            self._doing.pop(over, None)
        self._over.clear()
        self._show(number, title, total=of)

    def advance(self, number: int, done: StepProgress) -> None:
        """The step is so far."""
        about = f" of about {done.total:,}" if done.total else ""
        self._state(number, f"{done.count:,}{about} {done.unit}")

    def hold(self, number: int, reason: str) -> None:
        """The governor pauses or lets go."""
        if reason:
            self._state(number, f"paused: {reason}")

    def end(self, number: int, status: str, reason: str) -> None:
        """The step has ended."""
        if self._task is not None:
            self._progress.advance(self._task)
        self._state(number, f"{status} {reason}".rstrip())
        self._over.append(number)

    def _state(self, number: int, state: str) -> None:
        title = self._doing.get(number, "").partition("  ")[0]
        self._show(number, f"{title}  {state}")

    def _show(self, number: int, text: str, **fields: object) -> None:
        self._doing[number] = text
        if self._task is not None:
            self._progress.update(
                self._task, doing=" | ".join(self._doing.copy().values()), **fields
            )  # type: ignore[arg-type]
