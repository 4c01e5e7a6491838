"""Proof of the calendar against `systemd-analyze calendar`: equal due times except in gaps.

systemd skips a time of day that does not exist; sereno runs at the first instant after the gap.
Zones with equal offsets throughout the year are compared once.
"""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, available_timezones

from domain.calendar import parse_cron, upcoming

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
CRON_LINES = {
    "0 0 * * *": "*-*-* 00:00:00",
    "30 0 * * *": "*-*-* 00:30:00",
    "30 1 * * *": "*-*-* 01:30:00",
    "0 2 * * *": "*-*-* 02:00:00",
    "30 2 * * *": "*-*-* 02:30:00",
    "0 3 * * *": "*-*-* 03:00:00",
    "30 2 1,28,29,30,31 * *": "*-*-01,28,29,30,31 02:30:00",
    "0 0 L * *": "*-*~01 00:00:00",
    "0 0 * * mon": "Mon *-*-* 00:00:00",
    "30 2 * * sun": "Sun *-*-* 02:30:00",
}
INSTANT = re.compile(r"(?:Next elapse|Iter\. #\d+): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")


def offsets(name):
    """Return the UTC offset of a zone for each hour of the year."""
    hours = (FIRST + timedelta(hours=n) for n in range(366 * 24))
    return tuple(hour.astimezone(ZoneInfo(name)).utcoffset() for hour in hours)


def systemd_due_times(name, expression):
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=370", "--base-time", f"{FIRST:%Y-%m-%d} 00:00:00 UTC", f"{expression} {name}"],
        capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"},
    )  # fmt: skip
    instants = (
        datetime.fromisoformat(text).replace(tzinfo=UTC) for text in INSTANT.findall(done.stdout)
    )
    return {instant for instant in instants if FIRST < instant < LAST}


def compare(name):
    zone, counts = ZoneInfo(name), Counter()
    for line, expression in CRON_LINES.items():
        due_times = list(
            takewhile(lambda due: due.instant < LAST, upcoming(parse_cron(line), zone, FIRST))
        )
        in_gaps = {
            due.instant
            for due in due_times
            if due.instant.astimezone(zone).replace(tzinfo=None) != due.nominal
        }
        ours, expected = {due.instant for due in due_times}, systemd_due_times(name, expression)
        different = (ours ^ expected) - in_gaps
        counts += Counter(compared=len(ours), in_gaps=len(in_gaps), different=len(different))
        if different:
            print(
                name,
                line,
                sorted(ours - expected - in_gaps)[:2],
                sorted(expected - ours)[:2],
                file=sys.stderr,
            )
    return counts


def main():
    if shutil.which("systemd-analyze") is None:
        print("systemd calendar: skipped, systemd-analyze is not installed")
        return
    began = time.monotonic()
    zones = {offsets(name): name for name in sorted(available_timezones())}
    total = Counter(compared=0, in_gaps=0, different=0)
    with ThreadPoolExecutor(2) as pool:
        for counts in pool.map(compare, zones.values()):
            total.update(counts)
    print(f"systemd calendar: {len(zones)} distinct zones x {len(CRON_LINES)} cron lines, {total['compared']} due times,", end=" ")  # fmt: skip
    print(
        f"{total['in_gaps']} in gaps (skipped by systemd), other differences {total['different']};",
        end=" ",
    )
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(total["different"] != 0)


if __name__ == "__main__":
    main()
