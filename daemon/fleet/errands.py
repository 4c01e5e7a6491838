"""The errands that a worker has taken: it runs their tasks, as far as they are still owed."""

import threading
from collections.abc import Callable
from typing import Any

import structlog

from daemon.context import Context
from daemon.fleet.errand import Errand, from_json
from daemon.fleet.queue import GivenBackError
from daemon.history import history
from daemon.liveness import Watchdog
from daemon.runs.result import RunState
from daemon.runs.runner import FENCE_SECONDS, Runner
from domain.cause import Cause
from domain.task import Task
from execution.progress import NoProgress
from execution.window import open_window
from store.store import StoreError

STATE_SECONDS, SERVER_SECONDS = 10, 60
"""An errand is given back for so long if the state or its server cannot be used."""
MOST_TRIES = 4
"""A server that has not answered by then leaves its place to others, for about half a minute."""

_log = structlog.get_logger("fleet")


class Errands:
    """Runs errands, each in the thread that calls it."""

    def __init__(
        self, context: Context, renewed: Callable[[Context], Context], watchdog: Watchdog
    ) -> None:
        """`renewed` returns a context with the databases that exist now."""
        self._renewed, self._watchdog = renewed, watchdog
        self.stop = threading.Event()
        self._guard = threading.Lock()
        self._runners: list[Runner] = []
        self.use(context)

    def use(self, context: Context) -> None:
        """Use a context from now on; runs in progress keep the old one."""
        runner = Runner(context, NoProgress(), FENCE_SECONDS, self.stop, self._watchdog)
        runner.tries_at_most = MOST_TRIES
        with self._guard:
            self._runners = [one for one in self._runners if one.running()]
            self._runners.append(runner)
            self._context = context

    def running(self) -> list[Task]:
        """Return the running tasks."""
        with self._guard:
            return [task for runner in self._runners for task in runner.running().values()]

    def cancel(self) -> None:
        """End all runs; their errands are given back."""
        self.stop.set()
        with self._guard:
            runners = list(self._runners)
        for runner in runners:
            runner.cancel()

    def do(self, values: dict[str, Any]) -> None:
        """Run the tasks of an errand that no run has settled.

        Raises GivenBackError if this process ends meanwhile, or the state or the server of the
        database cannot be used.
        """
        errand = from_json(values)
        try:
            context, runner = self._prepared(errand)
            left = (errand.ends_at - context.clock()).total_seconds()
            window = open_window(max(0.0, left), errand.window_seconds)
            for task in self._owed(context, errand):
                ended = runner.run(task, window)
                if ended.state is RunState.INTERRUPTED and ended.cause is Cause.UNREACHABLE:
                    self._forget_unbegun(context, ended.number)
                    raise GivenBackError(SERVER_SECONDS, down=ended.down)
                if self.stop.is_set():
                    raise GivenBackError
        except StoreError as error:
            _log.critical("run.unrecorded", database=errand.database, error=str(error))
            raise GivenBackError(STATE_SECONDS) from None

    def _prepared(self, errand: Errand) -> tuple[Context, Runner]:
        """Return the context and the runner for an errand; a new database is looked up."""
        if self.stop.is_set():
            raise GivenBackError
        context = self._context
        if errand.database not in context.config.databases:
            fresh = self._renewed(context)
            if self._context is context:  # not reloaded meanwhile
                self.use(fresh)
        with self._guard:
            return self._context, self._runners[-1]

    def _forget_unbegun(self, context: Context, number: int) -> None:
        """Delete a run that has not reached its server: another one comes, again and again."""
        with context.store.transaction() as transaction:
            if not history.load_steps(transaction, number):
                history.forget_run(transaction, number)

    def _owed(self, context: Context, errand: Errand) -> list[Task]:
        """Return the tasks that are owed and configured here. Raises StoreError."""
        if errand.database not in context.config.databases:
            _log.error("errand.unknown", database=errand.database)
            return []
        with context.store.reading() as transaction:
            settled = history.load_settled(transaction, errand.trigger)
        return [
            task
            for task in errand.tasks
            if (task.job, task.database) not in settled and task.job in context.jobs
        ]
