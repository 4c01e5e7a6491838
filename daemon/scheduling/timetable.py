"""The due times of the configured schedules, with this instance's share of the jitter."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from domain.calendar import Cron, Due, latest, upcoming

if TYPE_CHECKING:
    from daemon.config.model import Config


@dataclass(frozen=True, slots=True)
class Timing:
    """The due times of one schedule; the delay is added to the instant, not the nominal minute."""

    cron: Cron
    zone: ZoneInfo
    delay: timedelta = timedelta()

    def upcoming(self, after: datetime) -> Iterator[Due]:
        """Yield the due times after an instant, in order."""
        for due in upcoming(self.cron, self.zone, after - self.delay):
            yield Due(due.instant + self.delay, due.nominal)

    def latest(self, until: datetime) -> Due | None:
        """Return the last due time at or before an instant."""
        due = latest(self.cron, self.zone, until - self.delay)
        return due and Due(due.instant + self.delay, due.nominal)


def timings(config: "Config") -> dict[str, Timing]:
    """Return the timing of every schedule."""
    zone = ZoneInfo(config.daemon.timezone)
    return {
        name: Timing(
            times.cron,
            zone,
            jitter_share(f"{config.daemon.name} {name}", times.jitter or timedelta()),
        )
        for name, times in config.timetable.items()
    }


def jitter_share(identity: str, most: timedelta) -> timedelta:
    """Return a share of a span in whole seconds, constant per identity and evenly distributed."""
    part = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) / 2**64
    return timedelta(seconds=int(most.total_seconds() * part))
