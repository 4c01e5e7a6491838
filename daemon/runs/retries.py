"""The tries of a run to reach its server: how long it waits for the next, and when it gives up."""

from math import inf

import structlog

from daemon.runs.recorder import Recorder
from daemon.runs.result import RunResult, RunState
from domain.cause import Cause
from domain.task import Task
from execution.window import Window
from postgres.session import LostError, UnreachableError

RETRY_SECONDS = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Delays between two attempts to reach a server."""
MOST_REFUSED = 5
"""After this many refusals of one login in a row, while another is accepted, the run fails."""

_log = structlog.get_logger("runner")


class Tries:
    """The failed tries of one run."""

    def __init__(
        self, task: Task, window: Window, recorder: Recorder, at_most: float = inf
    ) -> None:
        self._task, self._window, self._recorder = task, window, recorder
        self._at_most = at_most
        self._tries = self._refused = 0

    @property
    def wait(self) -> float:
        """Return the seconds until the next try."""
        return RETRY_SECONDS[min(self._tries, len(RETRY_SECONDS)) - 1]

    def end(self, error: UnreachableError) -> RunResult | None:
        """Return the end of the run after a failed try; None if it tries again.

        A run started by a person ends at once. The alert is opened at the second failure in a row,
        or at the end.
        """
        self._tries += 1
        recorder = self._recorder
        if recorder.is_gone(error):
            why = "the database does not exist any more"
            return RunResult(RunState.SKIPPED, why, cause=Cause.GONE)
        silent = recorder.is_silent()
        self._refused = 0 if silent or isinstance(error, LostError) else self._refused + 1
        goes_on = self._task.trigger.schedule is not None and self._window.left() > self.wait
        ends = not goes_on or self._refused > MOST_REFUSED
        if silent and (ends or self._tries > 1):
            recorder.unreachable(error)
        if ends:
            return RunResult(RunState.FAILED, str(error), cause=Cause.UNREACHABLE)
        if self._tries >= self._at_most and not self._refused:
            why = f"the others go first: {error}"
            return RunResult(
                RunState.INTERRUPTED, why, cause=Cause.UNREACHABLE, down=error.of_server
            )
        _log.warning("run.retrying", run=recorder.number, seconds=self.wait, reason=str(error))
        return None
