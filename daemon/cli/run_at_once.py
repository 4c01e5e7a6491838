"""Runs tasks of a command in as many places at once as the service does."""

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import partial

from daemon.cli.progress_bars import PlaceView, View
from daemon.context import Context
from daemon.runs.runner import FinishedRun, Runner
from daemon.scheduling.places import Places
from daemon.scheduling.works import read_limits, work_of
from domain.task import Scope, Task
from execution.window import Window


def run_at_once(
    context: Context,
    tasks: Sequence[Task],
    window: Window,
    view: View,
    make_runner: Callable[[PlaceView], Runner],
) -> list[FinishedRun]:
    """Run tasks, in each place one after the other; tasks of the service come last.

    Each place has a runner of its own. Returns the runs in the order of the tasks, without those
    that a stop has kept from beginning. Raises StoreError.
    """
    ran = dict[int, FinishedRun]()
    places = Places(read_limits(context))

    def work(numbers: Sequence[int]) -> None:
        shown = view.place()
        runner = make_runner(shown)
        runner.aside = places.aside
        for number in numbers:
            if runner.stop.is_set():
                return
            task = tasks[number]
            shown.run(task.job, task.database)
            ran[number] = runner.run(task, window)
            shown.finished(ran[number].state.value)

    try:
        for last in (False, True):
            chosen = [n for n, task in enumerate(tasks) if (task.scope is Scope.SERVICE) is last]
            ends = []
            for some in _by_place(tasks, chosen):
                wanted = work_of(context, [tasks[number] for number in some])
                ends.append(places.submit(wanted, partial(work, some)))
            for one in wait(ends).done:
                one.result()
    finally:
        places.stop()
    return [ran[number] for number in sorted(ran)]


def _by_place(tasks: Sequence[Task], numbers: Sequence[int]) -> list[list[int]]:
    """Return the numbers of tasks by place."""
    places: dict[str, list[int]] = {}
    for number in numbers:
        places.setdefault(tasks[number].place, []).append(number)
    return list(places.values())
