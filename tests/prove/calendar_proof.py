"""Proof of the calendar: every zone, 2024 to 2036, and unusual historic years of six zones.

Counts, for `M H * * *`: due times; duplicates (two for one local date); missing (a date without
one; a date that the zone skipped is merged with the next); early (before the local time is
reached); late (the local time was reached a second before); unordered. Within three days of each
clock change the due times are compared with a scan of every minute.
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
ERRORS = ("duplicates", "missing", "early", "late", "unordered")
COUNTERS = ("due", "merged", *ERRORS)
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


def local_time(instant, zone):
    return instant.astimezone(zone).replace(tzinfo=None)


def invariants(zone, first, last):
    """Count violations: one due time per local date, in order, at the first possible instant."""
    counts = Counter()
    for hour, minute in TIMES:
        cron = parse_cron(f"{minute} {hour} * * *")
        for year in range(first, last):
            counts += check_dates(zone, cron, date(year, 1, 1), date(year, 12, 31))
    return counts


def check_dates(zone, cron, first, last):
    start = datetime(first.year, 1, 1, tzinfo=UTC) - AROUND
    end = datetime(last.year, 12, 31, tzinfo=UTC) + AROUND
    due_times = list(takewhile(lambda due: due.instant < end, upcoming(cron, zone, start)))
    within = [due for due in due_times if first <= due.nominal.date() <= last]
    dates = Counter(due.nominal.date() for due in within)
    counts = Counter(due=len(within), duplicates=sum(number - 1 for number in dates.values()))
    instants = {due.instant for due in due_times}
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if (
            day not in dates
        ):  # a skipped date is due at the first instant of the next one: both are merged
            single = single_due_time(cron, zone, day)
            counts["merged" if single in instants else "missing"] += 1
    for earlier, due in pairwise(due_times):
        counts["unordered"] += not earlier.instant < due.instant
        local = local_time(due.instant, zone)
        counts["early"] += local < due.nominal
        if local != due.nominal:
            counts["late"] += local_time(due.instant - SECOND, zone) >= due.nominal
    return counts


def single_due_time(cron, zone, day):
    """Return the due time of one date, computed without the other dates."""
    single = parse_cron(f"{min(cron.minutes)} {min(cron.hours)} {day.day} {day.month} *")
    return next(
        upcoming(single, zone, datetime(day.year, day.month, day.day, tzinfo=UTC) - AROUND)
    ).instant


def transitions(zone, first, last):
    """Yield the days on which the UTC offset changes."""
    day = first
    while day < last:
        following = day + timedelta(days=1)
        if day.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
            yield day
        day = following


def scan_minutes(zone, start, end, hour, minute):
    """Return for each date the first minute at which the local time is reached or passed."""
    found = {}
    highest = local_time(start, zone)
    instant = start
    while instant < end:
        local = local_time(instant, zone)
        day = highest.date()
        while day <= local.date():
            nominal = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - a local time without zone
            if highest < nominal <= local:
                found.setdefault(day, instant)
            day += timedelta(days=1)
        highest = max(highest, local)
        instant += MINUTE
    return found


def compare(zone, first, last):
    """Count the due times around clock changes and their differences from the scan."""
    counts = Counter()
    for moment in transitions(zone, first, last):
        start, end = moment - AROUND, moment + AROUND
        for hour, minute in TIMES:
            scanned = scan_minutes(zone, start, end, hour, minute)
            due_times = takewhile(
                lambda due, end=end: due.instant < end,
                upcoming(parse_cron(f"{minute} {hour} * * *"), zone, start),
            )
            computed = {due.nominal.date(): due.instant for due in due_times}
            counts["compared"] += len(scanned)
            near = {
                day: instant
                for day, instant in scanned.items()
                if abs((instant - moment).days) < NEAR_DAYS
            }
            merged = set(computed.values())
            counts["differences"] += sum(
                computed.get(day, instant if instant in merged else None) != instant
                for day, instant in near.items()
            )
    return counts


def compare_dated_lines(zone, year):
    """Compare monthly and weekly lines with daily due times filtered by date."""
    counts = Counter()
    start, end = (datetime(year + n, 1, 1, tzinfo=UTC) for n in (0, 1))
    predicates = {
        f"{day} * *": lambda date, day=day: date.day == day for day in (1, 28, 29, 30, 31)
    }
    predicates["L * *"] = lambda date: date.day == monthrange(date.year, date.month)[1]
    predicates |= {f"* * {n}": lambda date, n=n: date.isoweekday() % 7 == n for n in range(7)}
    for hour, minute in TIMES:
        every = list(
            takewhile(
                lambda due: due.instant < end,
                upcoming(parse_cron(f"{minute} {hour} * * *"), zone, start),
            )
        )
        for line, matches in predicates.items():
            cron = parse_cron(f"{minute} {hour} {line}")
            due_times = list(takewhile(lambda due: due.instant < end, upcoming(cron, zone, start)))
            expected = [due for due in every if matches(due.nominal.date())]
            counts += Counter(
                dated=len(expected), dated_differences=len(set(due_times) ^ set(expected))
            )
    return counts


def prove_zone(name):
    zone = ZoneInfo(name)
    counts = invariants(zone, FIRST, LAST)
    counts += compare_dated_lines(zone, 2028)
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
    total = Counter(
        dict.fromkeys((*COUNTERS, "compared", "differences", "dated", "dated_differences"), 0)
    )
    with ProcessPoolExecutor() as pool:
        for number, counts in enumerate(pool.map(prove_zone, zones, chunksize=4), 1):
            total.update(counts)
            if number % 100 == 0:
                print(
                    f"{number} of {len(zones)} zones, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                )
    years = LAST - FIRST
    print(
        f"calendar: {len(zones)} zones x {years} years x {len(TIMES)} times of day, plus historic years of {len(HISTORIC)} zones"
    )
    print(", ".join(f"{name} {total[name]}" for name in COUNTERS))
    print(
        f"scan of minutes around clock changes: {total['compared']} compared,",
        end=" ",
    )
    print(f"{total['differences']} differences; {time.monotonic() - began:.0f} s")
    print(
        f"monthly and weekly lines: {total['dated']} compared, {total['dated_differences']} differences"
    )
    sys.exit(any(total[name] for name in (*ERRORS, "differences", "dated_differences")))


if __name__ == "__main__":
    main()
