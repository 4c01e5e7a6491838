"""Due times of cron lines, across time zones and clock changes."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendar import latest, parse_cron, upcoming

BERLIN = ZoneInfo("Europe/Berlin")


def due(line, zone, after, count):
    return list(islice(upcoming(parse_cron(line), ZoneInfo(zone), after), count))


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        # clocks go forward: 02:30 does not exist on 29 March
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            ["2026-03-29T01:00", "2026-03-30T00:30"],
        ),
        # clocks go back: 02:30 occurs twice on 25 October; due at the first
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["2026-10-25T00:30", "2026-10-26T01:30"],
        ),
        # clocks go forward at midnight
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00", ["2026-04-23T22:00", "2026-04-24T21:00"]),
        # clocks go forward by 30 minutes
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00",
            ["2026-10-03T15:30", "2026-10-04T15:15"],
        ),
        # Samoa skipped 30 December 2011
        ("0 2 * * *", "Pacific/Apia", "2011-12-29T13:00", ["2011-12-30T10:00", "2011-12-30T12:00"]),
        # monthly at midnight: months are complete across a clock change
        (
            "0 0 1 * *",
            "America/New_York",
            "2026-03-02T00:00",
            ["2026-04-01T04:00", "2026-05-01T04:00"],
        ),
        (
            "0 3 * * sun",
            "America/La_Paz",
            "2026-11-22T12:00",
            ["2026-11-29T07:00", "2026-12-06T07:00"],
        ),
        ("0 2 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T02:00", "2032-02-29T02:00"]),
        (
            "*/20 9-10 * jan,feb mon-fri",
            "UTC",
            "2026-01-02T10:30",
            ["2026-01-02T10:40", "2026-01-05T09:00"],
        ),
        (
            "0 3 L * *",
            "Europe/Berlin",
            "2028-02-01T00:00",
            ["2028-02-29T02:00", "2028-03-31T01:00"],
        ),
        ("0 3 15,L feb *", "UTC", "2026-02-14T00:00", ["2026-02-15T03:00", "2026-02-28T03:00"]),
        ("0 3 L * sun", "UTC", "2026-01-25T12:00", ["2026-01-31T03:00", "2026-02-01T03:00"]),
        ("0 12 13 * fri", "UTC", "2026-02-01T00:00", ["2026-02-06T12:00", "2026-02-13T12:00"]),
    ],
)
def test_upcoming_returns_due_times(line, zone, after, expected):
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert [f"{one.instant:%Y-%m-%dT%H:%M}" for one in due(line, zone, start, 2)] == expected


@pytest.mark.parametrize("line", ["", "* * * *", "60 * * * *", "* 24 * * *", "0 2 * * son", "0 2 0 * *", "5-1 * * * *", "*/0 * * * *", "a b c d e", "0 0 30 2 *", "0 L * * *", "0 0 L-3 * *"])  # fmt: skip
def test_parse_cron_rejects_invalid_line(line):
    with pytest.raises(ValueError, match="not a cron line"):
        parse_cron(line)


ZONES = [
    "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe", "Africa/Casablanca",
    "Europe/Dublin", "America/Nuuk", "America/La_Paz", "Asia/Kathmandu", "America/Santiago", "Pacific/Chatham",
]  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(ZONES),
    st.sampled_from([(0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0), (23, 59)]),
    st.dates(date(2024, 1, 1), date(2035, 1, 1)),
)
def test_daily_job_is_due_once_per_local_day_in_order(zone, clock, start):
    hour, minute = clock
    after = datetime.combine(start, datetime.min.time(), UTC)
    fired = due(f"{minute} {hour} * * *", zone, after, 400)
    nominals = [one.nominal.date() for one in fired]
    assert nominals == [nominals[0] + timedelta(days=n) for n in range(400)]
    assert all(a.instant < b.instant for a, b in pairwise(fired))
    for one in fired:
        wall = one.instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert wall >= one.nominal
        if wall != one.nominal:  # in a gap: due at the first instant after it
            before = (
                (one.instant - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            )
            assert before < one.nominal


@settings(max_examples=40)
@given(
    st.integers(1735689600, 1798761600).map(lambda second: datetime.fromtimestamp(second, UTC)),
    st.sampled_from(["30 2 * * *", "0 3 * * sun", "*/15 * * * *"]),
)
def test_latest_precedes_next_due_time(now, line):
    cron = parse_cron(line)
    last, following = latest(cron, BERLIN, now), next(upcoming(cron, BERLIN, now))
    assert last.instant <= now < following.instant
    assert next(upcoming(cron, BERLIN, last.instant)) == following


def test_due_minutes_in_one_gap_are_merged():
    instants = [
        one.instant
        for one in due("*/15 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 3)
    ]
    assert instants[0] == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert instants[1] == datetime(2026, 3, 30, 0, tzinfo=UTC)
