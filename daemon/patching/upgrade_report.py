"""The record of one attempt: what the patch unit did, as steps of a run."""

from datetime import datetime

from pydantic import Field

from domain.options import Model
from execution.step import Status

JOB = "minor_upgrade"
"""The job in the history."""
SCHEDULE = "sereno-patch"
MOST_STEPS = 1000
MOST_TEXT = 2000


class ReportedStep(Model):
    """One step that has ended."""

    name: str = Field(max_length=MOST_TEXT)
    object: str = Field(max_length=MOST_TEXT)
    status: Status
    reason: str = Field("", max_length=MOST_TEXT)
    seconds: float = Field(0.0, ge=0)


class UpgradeReport(Model):
    """One attempt in a window; `state` is finished, failed or skipped."""

    nominal: datetime
    """The beginning of the window, in its local time: the identity of the run."""
    started: datetime
    state: str = Field(pattern="^(finished|failed|skipped)$")
    reason: str = Field("", max_length=MOST_TEXT)
    steps: tuple[ReportedStep, ...] = Field((), max_length=MOST_STEPS)

    @property
    def has_installed(self) -> bool:
        """Return whether packages were changed, or a change of them failed."""
        return any(step.name == "upgrade" for step in self.steps)
