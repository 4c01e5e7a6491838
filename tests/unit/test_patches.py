"""What is behind: releases, the outputs of package managers, and what waits for a restart."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import judge as judges
from checks.patches import (
    HEADERS,
    Releases,
    Update,
    apt_updates,
    dnf_updates,
    read_releases,
    release_rows,
    restart_row,
    update_rows,
)
from domain.place import Place

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
RELEASES = Releases(
    date(2026, 8, 31),
    {15: 20, 18: 6},
    {15: date(2027, 11, 11), 18: date(2030, 11, 14)},
)
APT = """\
NOTE: This is only a simulation!
Inst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Inst libgcrypt20-dev [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []
Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian-Security:12/oldstable-security [amd64])
Inst openssl [3.0.2-0ubuntu1.18] (3.0.2-0ubuntu1.19 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])
Conf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])
"""
DNF4 = """\
Last metadata expiration check: 0:12:03 ago on Sun 29 Nov 2026 02:00:00 AM UTC.
RHSA-2026:1234 Important/Sec. openssl-libs-1:3.0.7-28.el9_4.x86_64
RHSA-2026:1235 Moderate/Sec.  python3-urllib3-1.26.5-5.el9_4.1.noarch
RHSA-2026:1240 Important/Sec. openssl-libs-1:3.0.7-29.el9_4.x86_64
"""
DNF5 = """\
Name                   Type     Severity                     Package              Issued
FEDORA-2026-b9d0dcc3f3 security Important curl-8.9.1-3.fc41.x86_64 2026-11-20 01:10:55
FEDORA-2026-1fd7c2a8e5 security None      vim-data-2:9.1.866-1.fc41.noarch 2026-11-14 02:13:05
"""


def kinds(rows):
    return [(row["kind"], row["severity"]) for row in rows]


def test_security_updates_of_apt():
    assert [(one.package, one.version) for one in apt_updates(APT)] == [
        ("libgcrypt20-dev", "1.10.1-3+deb12u1"),
        ("linux-image-6.1.0-40-amd64", "6.1.153-1"),
        ("openssl", "3.0.2-0ubuntu1.19"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DNF4, {"openssl-libs": "1:3.0.7-29.el9_4", "python3-urllib3": "1.26.5-5.el9_4.1"}),
        (DNF5, {"curl": "8.9.1-3.fc41", "vim-data": "2:9.1.866-1.fc41"}),
        ("", {}),
    ],
)
def test_security_updates_of_dnf(text, expected):
    assert {one.package: one.version for one in dnf_updates(text)} == expected


@given(st.text())
def test_any_output_is_read_without_an_error(text):
    apt_updates(text)
    dnf_updates(text)


@pytest.mark.parametrize(
    ("version", "today", "expected"),
    [
        (150020, date(2026, 11, 29), []),
        (150018, date(2026, 11, 29), [("server_behind", "warning")]),
        (150021, date(2026, 11, 29), []),
        (150020, date(2027, 5, 15), [("server_end_of_life", "warning"), ("releases_unknown", "info")]),
        (150020, date(2027, 11, 11), [("server_end_of_life", "warning"), ("releases_unknown", "info")]),
        (150020, date(2027, 11, 12), [("server_end_of_life", "high"), ("releases_unknown", "info")]),
        (140023, date(2026, 11, 29), [("server_end_of_life", "high")]),
        (190001, date(2026, 11, 29), []),
        (180006, date(2026, 12, 9), [("releases_unknown", "info")]),
        (180006, date(2026, 12, 8), []),
    ],
)  # fmt: skip
def test_release_is_compared_with_the_table(version, today, expected):
    assert kinds(release_rows(version, RELEASES, today)) == expected


def test_shipped_table_is_complete():
    releases = read_releases()
    assert releases.minors.keys() == releases.ends.keys() >= {15, 16, 17, 18}
    assert releases.dated <= datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("running", "installed", "found"),
    [
        ("15.14 (Debian 15.14-0+deb12u1)", "15.20-0+deb12u1", True),
        ("15.14 (Debian 15.14-0+deb12u1)", "15.14-0+deb12u1", False),
        ("15.14 (Debian 15.14-0+deb12u1)", "", False),
        ("15.14", "15.20-0+deb12u1", False),  # another build than the package
        ("16.4 (Ubuntu 16.4-0ubuntu0.24.04.2)", "16.9-0ubuntu0.24.04.1", True),
    ],
)
def test_server_that_waits_for_a_restart(running, installed, found):
    assert bool([*restart_row(running, installed)]) == found


def test_update_that_is_pending_for_two_weeks_is_high():
    updates = [Update(f"lib{n}", "1") for n in range(25)]
    since = {one.package: (NOW - timedelta(days=3)).isoformat() for one in updates}
    (row,) = update_rows(updates, since, NOW, "apt-get upgrade")
    assert (row["severity"], row["value"]) == ("warning", 25)
    assert row["packages"].endswith("lib19 1 (+5)")
    (row,) = update_rows(
        updates, {**since, "lib7": (NOW - timedelta(days=14)).isoformat()}, NOW, ""
    )
    assert row["severity"] == "high"
    assert [*update_rows([], {}, NOW, "")] == []


def test_every_row_fills_the_texts_of_its_header():
    server = [*release_rows(140001, Releases(date(2020, 1, 1), {14: 23}, {14: date(2026, 11, 12)}), NOW.date())]  # fmt: skip
    server += restart_row("15.14 (Debian 15.14-0)", "15.20-0")
    host = update_rows([Update("a", "1")], {"a": NOW.isoformat()}, NOW, "apt-get upgrade")
    for row in [*server, *host]:
        header = HEADERS[row["kind"]]
        (finding,) = judges.judge(header, [{"command": "x", **row}], {}, Place("i"))
        texts = [finding.summary, finding.remedy]
        texts += [judges.summary_of(header, {"command": "x", **row}, "es"), judges.remedy_of(header, {"command": "x", **row}, "es")]  # fmt: skip
        assert not [text for text in texts if "{" in text]
