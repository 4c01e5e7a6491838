"""How a run ended, from how its steps ended. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run: its state, why, and how many steps are left."""

    state: RunState
    reason: str = ""
    left: int = 0


_BY_STOP = ((Stop.THROTTLED, RunState.THROTTLED), (Stop.WINDOW, RunState.WINDOW_ENDED))


def final(outcomes: Sequence[tuple[Step, Outcome]]) -> End:
    """Return how it ended. An interruption outweighs a failure: its rest is still owed."""
    left = sum(outcome.status is Status.UNFINISHED for _, outcome in outcomes)
    for stop, state in ((Stop.INTERRUPTED, RunState.INTERRUPTED), (None, RunState.FAILED), *_BY_STOP):
        ended = [one for one in outcomes if (one[1].stop is stop if stop else one[1].status is Status.FAILED)]
        if not ended:
            continue
        step, outcome = ended[0]
        if state is RunState.FAILED:
            more = f" (and {len(ended) - 1} more)" if len(ended) > 1 else ""
            return End(state, f"{step.name} {step.object}: {outcome.reason}{more}", left)
        return End(state, f"steps left: {left}, the first: {step.name} {step.object}", left)
    return End(RunState.FINISHED)
