"""Progress of `sereno now`: a bar for each run with its steps; one for all runs of many places."""

import threading
from typing import Protocol, Self

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
from rich.table import Column

from daemon.cli.output import shorten
from domain.progress import LockTry, StepProgress
from execution.progress import NoProgress
from execution.progress import Progress as Observer

MOST_BARS = 8
"""With more places at once the bars would not fit a terminal."""
_BAR_WIDTH = 16
_FIXED_WIDTH = 62
"""Columns used by the spinner, job, database, bar, counter and time."""
_DATABASE_WIDTH = 14
_SHORTEST_TEXT = 8


class PlaceView(Observer, Protocol):
    """Shows the runs of one place, one after the other, with the progress of their steps."""

    def run(self, job: str, database: str) -> None:
        """Show that a run begins."""

    def finished(self, state: str) -> None:
        """Show the end of the run."""


class View(Protocol):
    """Shows the runs of several places."""

    def place(self) -> PlaceView:
        """Return the view of one place."""


class _Drawn:
    """A drawing on the terminal, removed at the end of the body of a `with`."""

    _progress: Progress

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and remove the bars."""
        self._progress.stop()


class Bars(_Drawn):
    """One bar for the steps of each run; the text of the steps in progress is cut to fit."""

    def __init__(self, console: Console) -> None:
        self._room = max(_SHORTEST_TEXT, console.width - _FIXED_WIDTH)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[job]}", style="bold", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn(
                "{task.fields[doing]}",
                style="dim",
                markup=False,
                table_column=Column(no_wrap=True, overflow="crop"),
            ),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def place(self) -> PlaceView:
        """Return the bars of one place."""
        return _PlaceBars(self._progress, self._room)


class _PlaceBars:
    """The bars of the runs of one place."""

    def __init__(self, progress: Progress, room: int) -> None:
        self._progress, self._room = progress, room
        self._task: TaskID | None = None
        self._doing: dict[int, str] = {}
        """The text of each step in progress."""
        self._over: list[int] = []

    def run(self, job: str, database: str) -> None:
        """Add the bar of a run."""
        name = f"{job:<15} {shorten(database or 'host', _DATABASE_WIDTH):<{_DATABASE_WIDTH}}"
        self._doing.clear()
        self._over.clear()
        self._task = self._progress.add_task(name, total=None, job=name, doing="planning")

    def finished(self, state: str) -> None:
        """Complete the bar of the run."""
        for one in self._progress.tasks:
            if one.id == self._task:
                done = one.completed or 1
                self._progress.update(one.id, total=done, completed=done, doing=state)

    def begin(self, number: int, of: int, title: str) -> None:
        """Show a step; steps that have ended are removed."""
        for over in self._over:
            self._doing.pop(over, None)
        self._over.clear()
        if self._task is not None:
            self._progress.update(self._task, total=of)
        self._show(number, title)

    def advance(self, number: int, done: StepProgress) -> None:
        """Show the progress of a step."""
        about = ""
        if done.total:
            about = f" of about {done.total:,}"
        self._state(number, f"{done.count:,}{about} {done.unit}")

    def hold(self, number: int, reason: str) -> None:
        """Show that the governor pauses a step."""
        if reason:
            self._state(number, f"paused: {reason}")

    def locking(self, number: int, attempt: LockTry) -> None:
        """Do nothing: the pause that follows is shown."""

    def end(self, number: int, status: str, reason: str) -> None:
        """Show the end of a step."""
        if self._task is not None:
            self._progress.advance(self._task)
        self._state(number, f"{status} {reason}".rstrip())
        self._over.append(number)

    def _state(self, number: int, state: str) -> None:
        title = self._doing.get(number, "").partition("  ")[0]
        self._show(number, f"{title}  {state}")

    def _show(self, number: int, text: str) -> None:
        self._doing[number] = text
        if self._task is not None:
            doing = shorten(" | ".join(self._doing.copy().values()), self._room)
            self._progress.update(self._task, doing=doing)


class RunsBar(_Drawn):
    """One bar for all runs, with the first of those in progress."""

    def __init__(self, console: Console, runs: int) -> None:
        self._guard = threading.Lock()
        self._at_work: list[str] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("runs", style="bold"),
            BarColumn(bar_width=_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn(
                "{task.fields[doing]}",
                style="dim",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("runs", total=runs, doing="")

    def place(self) -> PlaceView:
        """Return the view of one place, whose steps are not shown."""
        return _PlaceOfMany(self.show)

    def show(self, begun: str, ended: str = "") -> None:
        """Show that a run has begun or ended; called by several threads."""
        with self._guard:
            if begun:
                self._at_work.append(begun)
            if ended:
                self._at_work.remove(ended)
            doing = ", ".join(self._at_work)
            self._progress.update(self._task, advance=bool(ended), doing=doing)


class _PlaceOfMany(NoProgress):
    def __init__(self, show: "_Show") -> None:
        self._show, self._name = show, ""

    def run(self, job: str, database: str) -> None:
        """Show that a run begins."""
        self._name = f"{job} {database or 'host'}"
        self._show(self._name)

    def finished(self, _state: str) -> None:
        """Show the end of the run."""
        self._show("", self._name)


class _Show(Protocol):
    def __call__(self, begun: str, ended: str = "") -> None: ...
