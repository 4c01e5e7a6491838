"""Business hours, outside which non-critical repeats wait. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the day on some weekdays, in a time zone."""

    days: frozenset[int]
    begin: time
    end: time
    zone: ZoneInfo

    @classmethod
    def read(cls, text: str, zone: str) -> Self:
        """Parse `mon-fri 08:00-18:00`, or `08:00-18:00` for every day. Raises ValueError."""
        match = _FORM.fullmatch(text.strip().lower())
        try:
            first, last = (match[1] or "mon", match[2] or match[1] or "sun") if match else ("", "")
            span = (_DAYS.index(last) - _DAYS.index(first)) % 7
            clock = [int(part) for part in match.groups()[2:]] if match else [0, 0, 0, 0]
            begin, end = time(clock[0], clock[1]), time(clock[2], clock[3])
        except ValueError:
            begin = end = time()
            first, span = "mon", 0
        if begin >= end:
            raise ValueError(f'"{text}" are not business hours (like "mon-fri 08:00-18:00")')
        return cls(
            frozenset((_DAYS.index(first) + day) % 7 for day in range(span + 1)),
            begin,
            end,
            ZoneInfo(zone),
        )

    def opening(self, at: datetime) -> datetime:
        """Return the instant itself if it lies within, else the next opening."""
        local = at.astimezone(self.zone)
        for ahead in range(8):
            day = local.date() + timedelta(days=ahead)
            if day.weekday() not in self.days:
                continue
            begin = datetime.combine(day, self.begin, self.zone)
            if local < begin:
                return begin.astimezone(at.tzinfo)
            if local < datetime.combine(day, self.end, self.zone):
                return at
        return at
