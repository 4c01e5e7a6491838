"""Runs tasks of a command in as many places at once as the service does."""

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import partial

from daemon.cli.progress_bars import PlaceView, View
from daemon.context import Context
from daemon.runs.runner import FinishedRun, Runner
from daemon.scheduling.places import Places
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
    places, ran = Places(context.config.daemon.at_once), dict[int, FinishedRun]()

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
            by_place: dict[str, list[int]] = {}
            for number, task in enumerate(tasks):
                if (task.scope is Scope.SERVICE) is last:
                    by_place.setdefault(task.place, []).append(number)
            ends = [places.submit(place, partial(work, some)) for place, some in by_place.items()]
            for one in wait(ends).done:
                one.result()
    finally:
        places.stop()
    return [ran[number] for number in sorted(ran)]
