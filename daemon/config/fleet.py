"""The options of many databases and of several machines: waves and workers."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from domain.options import Duration, Model

WaveSize = Annotated[str, Field(pattern=r"^(\*|[1-9][0-9]{0,5}%?)$")]
Part = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}%?$")]


class StopWave(Model):
    """The results of a wave after which the next one is not begun."""

    failed: Part = Field(
        "1", description='So many databases with a failed run, or such a share ("2%").'
    )
    critical: int = Field(1, ge=1, description="So many alerts opened as critical by its runs.")


class Fleet(Model):
    """Waves of the databases of a schedule, and the workers of `sereno run --worker`."""

    worker_at_once: int = Field(
        8,
        ge=1,
        le=32,
        description="How many databases one worker works on at once (sereno run --worker).",
    )
    stalled_after: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=10),
        le=timedelta(minutes=10),
        description="The work of a worker without a sign of life for so long is given to another.",
    )
    waves: tuple[WaveSize, ...] = Field(
        (),
        description="A schedule begins in so many databases, goes on in the next ones when these "
        'have ended well, and so on, such as ["3", "5%", "*"]: numbers, shares, and * for the '
        "rest. Databases with a greater priority go first.",
    )
    stop_wave_at: StopWave = StopWave()
