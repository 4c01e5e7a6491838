"""The long proof of the calendar: every zone, 2024 to 2036, six times of day, and the transitions of all history.

Counts, for `M H * * *`: how often it fires, doubles (two for one local date), losses (a date without one; one that the
zone left out comes together with the next), early ones (before the wall clock reads that much), late ones (though it did
a second before), disorder; and compares it, three days around
each transition, with the plainest oracle there is: look at the wall clock of every minute.
"""

import sys
import time
from calendar import monthrange
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

from domain.calendar import parse_cron, upcoming

TIMES = ((0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0))
FIRST, LAST = 2024, 2037
NEAR_DAYS = 2
WRONG = ("doubles", "losses", "early", "late", "disorder")
COUNTED = ("fires", "together", *WRONG)
HISTORIC = {
    "Pacific/Apia": 2011,
    "Pacific/Kwajalein": 1993,
    "Australia/Lord_Howe": 1985,
    "Africa/Casablanca": 2018,
    "Europe/Dublin": 1971,
    "America/Nuuk": 2023,
}
AROUND = timedelta(days=3)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def wall(instant, zone):
    return instant.astimezone(zone).replace(tzinfo=None)


def invariants(zone, first, last):
    """Every local date of these years has one due time, in order, at the first instant that reads so much."""
    counts = Counter()
    for hour, minute in TIMES:
        cron = parse_cron(f"{minute} {hour} * * *")
        for year in range(first, last):
            counts += one_year(zone, cron, date(year, 1, 1), date(year, 12, 31))
    return counts


def one_year(zone, cron, first, last):
    start = datetime(first.year, 1, 1, tzinfo=UTC) - AROUND
    end = datetime(last.year, 12, 31, tzinfo=UTC) + AROUND
    dues = list(takewhile(lambda due: due.instant < end, upcoming(cron, zone, start)))
    within = [due for due in dues if first <= due.nominal.date() <= last]
    dates = Counter(due.nominal.date() for due in within)
    counts = Counter(fires=len(within), doubles=sum(number - 1 for number in dates.values()))
    instants = {due.instant for due in dues}
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if (
            day not in dates
        ):  # a date that is not there falls on the next one's first instant: two that are one
            alone = on_its_own(cron, zone, day)
            counts["together" if alone in instants else "losses"] += 1
    for earlier, due in pairwise(dues):
        counts["disorder"] += not earlier.instant < due.instant
        reads = wall(due.instant, zone)
        counts["early"] += reads < due.nominal
        if reads != due.nominal:
            counts["late"] += wall(due.instant - SECOND, zone) >= due.nominal
    return counts


def on_its_own(cron, zone, day):
    """Return the instant of one date, as if it stood alone."""
    alone = parse_cron(f"{min(cron.minutes)} {min(cron.hours)} {day.day} {day.month} *")
    return next(
        upcoming(alone, zone, datetime(day.year, day.month, day.day, tzinfo=UTC) - AROUND)
    ).instant


def transitions(zone, first, last):
    """Yield about when the offset changes, found by days and then halves."""
    day = first
    while day < last:
        following = day + timedelta(days=1)
        if day.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
            yield day
        day = following


def oracle(zone, start, end, hour, minute):
    """Scan the minutes: the first at which the wall clock of that date, or of a later one, reads at least so much."""
    found = {}
    highest = wall(start, zone)
    instant = start
    while instant < end:
        reads = wall(instant, zone)
        day = highest.date()
        while day <= reads.date():
            nominal = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - a wall clock's own
            if highest < nominal <= reads:
                found.setdefault(day, instant)
            day += timedelta(days=1)
        highest = max(highest, reads)
        instant += MINUTE
    return found


def compare(zone, first, last):
    """Count the due times around each transition, and those on which the oracle does not agree."""
    counts = Counter()
    for moment in transitions(zone, first, last):
        start, end = moment - AROUND, moment + AROUND
        for hour, minute in TIMES:
            scanned = oracle(zone, start, end, hour, minute)
            dues = takewhile(
                lambda due, end=end: due.instant < end,
                upcoming(parse_cron(f"{minute} {hour} * * *"), zone, start),
            )
            ours = {due.nominal.date(): due.instant for due in dues}
            counts["compared"] += len(scanned)
            near = {
                day: instant
                for day, instant in scanned.items()
                if abs((instant - moment).days) < NEAR_DAYS
            }
            together = set(ours.values())
            counts["disagreements"] += sum(
                ours.get(day, instant if instant in together else None) != instant
                for day, instant in near.items()
            )
    return counts


def by_the_date(zone, year):
    """Compare monthly and weekly lines with a look at every date: the 1st, 28th to 31st, the last, each weekday."""
    counts = Counter()
    start, end = (datetime(year + n, 1, 1, tzinfo=UTC) for n in (0, 1))
    meant = {f"{day} * *": lambda date, day=day: date.day == day for day in (1, 28, 29, 30, 31)}
    meant["L * *"] = lambda date: date.day == monthrange(date.year, date.month)[1]
    meant |= {f"* * {n}": lambda date, n=n: date.isoweekday() % 7 == n for n in range(7)}
    for hour, minute in TIMES:
        every = list(
            takewhile(
                lambda due: due.instant < end,
                upcoming(parse_cron(f"{minute} {hour} * * *"), zone, start),
            )
        )
        for line, means in meant.items():
            cron = parse_cron(f"{minute} {hour} {line}")
            dues = list(takewhile(lambda due: due.instant < end, upcoming(cron, zone, start)))
            expected = [due for due in every if means(due.nominal.date())]
            counts += Counter(dated=len(expected), misdated=len(set(dues) ^ set(expected)))
    return counts


def prove(name):
    zone = ZoneInfo(name)
    counts = invariants(zone, FIRST, LAST)
    counts += by_the_date(zone, 2028)
    counts += compare(zone, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    if name in HISTORIC:
        year = HISTORIC[name]
        counts += invariants(zone, year - 1, year + 2)
        counts += compare(
            zone, datetime(year - 1, 1, 1, tzinfo=UTC), datetime(year + 2, 1, 1, tzinfo=UTC)
        )
    return counts


def main():
    began = time.monotonic()
    zones = sorted(available_timezones())
    total = Counter(dict.fromkeys((*COUNTED, "compared", "disagreements", "dated", "misdated"), 0))
    with ProcessPoolExecutor() as pool:
        for number, counts in enumerate(pool.map(prove, zones, chunksize=4), 1):
            total.update(counts)
            if number % 100 == 0:
                print(
                    f"{number} of {len(zones)} zones, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                )
    years = LAST - FIRST
    print(
        f"calendar: {len(zones)} zones x {years} years x {len(TIMES)} times, and {len(HISTORIC)} zones' odd years"
    )
    print(", ".join(f"{name} {total[name]}" for name in COUNTED))
    print(
        f"beside the scan of every minute around a transition: {total['compared']} compared,",
        end=" ",
    )
    print(f"{total['disagreements']} disagreements; {time.monotonic() - began:.0f} s")
    print(
        f"monthly and weekly lines, beside a look at every date: {total['dated']} compared, {total['misdated']} differ"
    )
    sys.exit(any(total[name] for name in (*WRONG, "disagreements", "misdated")))


if __name__ == "__main__":
    main()
