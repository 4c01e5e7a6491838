"""A preview of the steps that fit a window, by the rules of the executor. Pure."""

from collections.abc import Sequence

from execution.executor import fits_window, has_no_history, ignores_window
from execution.step import Step


def preview(lanes: list[float], steps: Sequence[Step], seconds: float) -> list[str]:
    """Return for each step whether a window of `seconds` would see it begin: yes, no or tried.

    `lanes` holds the time from which each lane is free, and is updated. A free lane takes the next
    step that fits; urgent steps need no window; a step without history is tried in the first half.
    """
    found = []
    for step in steps:
        lane = lanes.index(min(lanes))
        left = seconds - lanes[lane]
        free = ignores_window(step, left)
        if not (free or fits_window(step, left, seconds)):
            found.append("no")
            continue
        known = 0 < step.predicted_seconds <= left or not has_no_history(step)
        found.append("yes" if free or known else "tried")
        lanes[lane] += step.predicted_seconds
    return found
