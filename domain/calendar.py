"""Due times of cron lines in a time zone. Pure: no clock is read.

A due time is a *nominal* local minute. A minute that does not exist (gap) is due at the first
instant after the gap; one that occurs twice (fold) is due at its first occurrence. As in Vixie
cron, a day matches if either of two restricted day fields matches. `L` in the day field is the last
day of the month.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EXAMPLE = '(like "0 2 * * *": minute, hour, day of month, month, day of week)'
_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
LEAST_DUES = 3
HORIZON = timedelta(days=8)
_HORIZON_DAYS = 366 * 9
"""29 February recurs after 8 years at most (1896 to 1904)."""


@dataclass(frozen=True, slots=True)
class Cron:
    """One parsed cron line; weekday 0 is Sunday."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    last_day: bool = False
    """Whether the line names the last day of the month (`L`)."""

    def __str__(self) -> str:
        """Return the line as written."""
        return self.text

    def on(self, day: date) -> bool:
        """Return whether the line matches a date."""
        if day.month not in self.months:
            return False
        ends = self.last_day and (day + timedelta(days=1)).day == 1
        by_month, by_week = day.day in self.days or ends, day.isoweekday() % 7 in self.weekdays
        if self.either_day:
            return by_month or by_week
        return by_month and by_week

    def times(self) -> list[time]:
        """Return the times of a day, in order."""
        return [
            time(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)
        ]


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A due time: the instant (UTC), and the nominal local minute that identifies it."""

    instant: datetime
    nominal: datetime


def parse_cron(text: str) -> Cron:
    """Parse five fields. Raises ValueError naming the wrong field."""
    fields = text.lower().split()
    if len(fields) != 5:  # noqa: PLR2004 - cron's five
        raise ValueError(f'"{text}" is not a cron line {_EXAMPLE}')
    try:
        minutes = _field(fields[0], 0, 59)
        hours = _field(fields[1], 0, 23)
        days, last_day = _days(fields[2])
        months = _field(fields[3], 1, 12, _MONTHS)
        weekdays = frozenset(number % 7 for number in _field(fields[4], 0, 7, _DAYS))
    except ValueError as error:
        raise ValueError(f'"{text}" is not a cron line: {error} {_EXAMPLE}') from None
    possible = last_day or any(min(days) <= _LONGEST[month - 1] for month in months)
    if not possible and weekdays >= frozenset(range(7)):
        raise ValueError(f'"{text}" is not a cron line: no selected month has that day {_EXAMPLE}')
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Cron(text, minutes, hours, days, months, weekdays, either, last_day)


def upcoming(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[Due]:
    """Yield the due times after an instant in order, one per instant."""
    day = after.astimezone(zone).date() - timedelta(days=2)
    before = after.astimezone(UTC)
    for offset in range(_HORIZON_DAYS):
        for due in _on(cron, zone, day + timedelta(days=offset)):
            if due.instant > before:
                before = due.instant
                yield due


def latest(cron: Cron, zone: ZoneInfo, until: datetime, days: int = 400) -> Due | None:
    """Return the last due time at or before an instant, at most `days` back.

    If a gap merges several due times into one instant, the first of them is returned.
    """
    tomorrow = until.astimezone(zone).date() + timedelta(days=1)
    for offset in range(days):
        # two dates at a time: a gap that reaches midnight has due times of both
        dues = [
            due
            for back in (offset, offset + 1)
            for due in _on(cron, zone, tomorrow - timedelta(days=back))
            if due.instant <= until
        ]
        if dues:
            last = max(due.instant for due in dues)
            return min(due for due in dues if due.instant == last)
    return None


def _on(cron: Cron, zone: ZoneInfo, day: date) -> Iterator[Due]:
    if not cron.on(day):
        return
    for clock in cron.times():
        nominal = datetime.combine(day, clock)
        yield Due(_instant(nominal, zone), nominal)


def _instant(nominal: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant whose wall clock reads at least `nominal`."""
    instant = nominal.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == nominal:
        return instant
    return _after_gap(nominal, zone)


def _after_gap(nominal: datetime, zone: ZoneInfo) -> datetime:
    """Return the end of the gap that contains `nominal`, found by bisection."""
    middle = nominal.replace(tzinfo=UTC)
    low, high = (
        int((middle - timedelta(days=2)).timestamp()),
        int((middle + timedelta(days=2)).timestamp()),
    )
    while high - low > 1:
        probe = (low + high) // 2
        if datetime.fromtimestamp(probe, zone).replace(tzinfo=None) < nominal:
            low = probe
        else:
            high = probe
    return datetime.fromtimestamp(high, UTC)


def _days(text: str) -> tuple[frozenset[int], bool]:
    """Parse the day-of-month field; the flag is set if it contains `l`."""
    items = text.split(",")
    numbers = [item for item in items if item != "l"]
    return (_field(",".join(numbers), 1, 31) if numbers else frozenset()), len(numbers) < len(items)


def _field(text: str, lowest: int, highest: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    numbers: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} cannot be read")
        if match["first"] == "*":
            first, last = lowest, highest
        else:
            first = _number(match["first"], lowest, names)
            last = first
            if match["last"]:
                last = _number(match["last"], lowest, names)
            elif match["step"]:
                last = highest
        step = int(match["step"] or 1)
        if not (lowest <= first <= last <= highest and step > 0):
            raise ValueError(f"{item!r} is outside {lowest} to {highest}")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(text: str, lowest: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + (1 if lowest == 1 else 0)
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def longest_gap(cron: Cron, zone: ZoneInfo, now: datetime) -> timedelta:
    """Return the longest time between due times within eight days, or between the next three."""
    return _longest_gap(cron, zone, now.replace(hour=0, minute=0, second=0, microsecond=0))


@lru_cache(maxsize=64)
def _longest_gap(cron: Cron, zone: ZoneInfo, day: datetime) -> timedelta:
    dues = upcoming(cron, zone, day)
    looked_at = list(islice(dues, LEAST_DUES))
    looked_at += takewhile(lambda due: due.instant < day + HORIZON, dues)
    return max(
        (later.instant - earlier.instant for earlier, later in pairwise(looked_at)),
        default=timedelta(),
    )
