"""How a run ended, from how its steps ended. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from execution.control import Stop
from execution.step import Outcome, Status, Step


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


_BY_STOP = (
    (Stop.THROTTLED, RunState.THROTTLED),
    (Stop.WINDOW, RunState.WINDOW_ENDED),
    (Stop.TOO_LONG, RunState.WINDOW_ENDED),
)


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
        forecast = _forecast(outcomes) if state is RunState.WINDOW_ENDED else ""
        return End(state, f"steps left: {left}, the first: {step.name} {step.object}{forecast}", left)
    return End(RunState.FINISHED)


def _forecast(outcomes: Sequence[tuple[Step, Outcome]]) -> str:
    """Say how many more nights what is left will take: by predictions where there are any, else by counting steps.

    Prediction against prediction: the same margins are in both.
    """
    done = [(step, outcome) for step, outcome in outcomes if outcome.status is Status.DONE]
    left = [step for step, outcome in outcomes if outcome.stop is Stop.WINDOW]
    if not done or not left:
        return ""
    needed = sum(step.predicted_seconds for step in left)
    did = sum(step.predicted_seconds for step, _ in done)
    nights = needed / did if needed and did else len(left) / len(done)
    count = max(1, ceil(nights))
    return f"; at this rate {count} more night{'s' if count > 1 else ''}"
