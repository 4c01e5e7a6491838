"""How a run ended, from how its steps ended. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from postgres.pace import Stop
from postgres.step import Outcome, Status, Step


class RunState(StrEnum):
    """A run ends in exactly one of these."""

    FINISHED = "finished"
    WINDOW_ENDED = "window_ended"
    THROTTLED = "throttled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


_BY_STOP = {
    Stop.INTERRUPTED: RunState.INTERRUPTED,
    Stop.THROTTLED: RunState.THROTTLED,
    Stop.WINDOW: RunState.WINDOW_ENDED,
}


def final(outcomes: Sequence[tuple[Step, Outcome]]) -> tuple[RunState, str, int]:
    """Return state, reason and steps left. A failure outweighs a stop; an interruption outweighs the clock."""
    left = sum(outcome.status is Status.UNFINISHED for _, outcome in outcomes)
    failed = [
        f"{step.name} {step.object}: {outcome.reason}" for step, outcome in outcomes if outcome.status is Status.FAILED
    ]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return RunState.FAILED, failed[0] + more, left
    for stop, state in _BY_STOP.items():
        halted = [f"{step.name} {step.object}" for step, outcome in outcomes if outcome.stop is stop]
        if halted:
            return state, f"{left} steps left, the first: {halted[0]}", left
    return RunState.FINISHED, "", left
