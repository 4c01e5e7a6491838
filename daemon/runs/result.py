"""The result of a run, derived from the outcomes of its steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from domain.cause import Cause
from execution.control import Stop
from execution.step import Outcome, Status, Step


class RunState(StrEnum):
    """The state in which a run ends."""

    FINISHED = "finished"
    WINDOW_ENDED = "window_ended"
    THROTTLED = "throttled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run: state, reason, cause and steps left."""

    state: RunState
    reason: str = ""
    left: int = 0
    cause: Cause | None = None
    down: bool = False
    """Whether the whole server does not answer."""


_BY_STOP = (
    (Stop.THROTTLED, RunState.THROTTLED),
    (Stop.WINDOW, RunState.WINDOW_ENDED),
    (Stop.TOO_LONG, RunState.WINDOW_ENDED),
)


def summarize(outcomes: Sequence[tuple[Step, Outcome]]) -> RunResult:
    """Return the result; an interruption outranks a failure, since the rest is still owed."""
    left = sum(outcome.status is Status.UNFINISHED for _, outcome in outcomes)
    for stop, state in (
        (Stop.INTERRUPTED, RunState.INTERRUPTED),
        (None, RunState.FAILED),
        *_BY_STOP,
    ):
        ended = [
            one
            for one in outcomes
            if (one[1].stop is stop if stop else one[1].status is Status.FAILED)
        ]
        if not ended:
            continue
        step, outcome = ended[0]
        if state is RunState.FAILED:
            more = ""
            if len(ended) > 1:
                more = f" (and {len(ended) - 1} more)"
            reason = f"{step.name} {step.object}: {outcome.reason}{more}"
            return RunResult(state, reason, left, outcome.cause)
        more = f"; {outcome.reason}"
        if state is RunState.WINDOW_ENDED:
            more = _forecast(outcomes)
        return RunResult(
            state, f"steps left: {left}, the first: {step.name} {step.object}{more}", left
        )
    return RunResult(RunState.FINISHED)


def _forecast(outcomes: Sequence[tuple[Step, Outcome]]) -> str:
    """Return the number of further nights that the remaining steps need, as text.

    Predictions are compared with predictions, which have the same margin; without any, steps are
    counted.
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
