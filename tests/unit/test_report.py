"""Weekly health report: sentence, colour, both parts, escaping, disk forecast."""

import html.parser
import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.report.gather import full_on
from daemon.report.render import letter, page
from daemon.report.report import (
    DoneWork,
    Growth,
    NextDue,
    OpenAlert,
    Report,
    ResolvedAlert,
    TaskSummary,
    UndoneStep,
)
from domain import units
from domain.finding import Severity

UNTIL = datetime(2026, 3, 8, 7, 0, tzinfo=UTC)
HOSTILE = '<script>alert(1)</script> {{ 7 * 7 }} " \' & public."Ünï"'


def open_alert(severity, text="x", **changes):
    values = {
        "number": 7, "severity": severity, "kind": "orphans", "database": text, "object": text, "summary": text,
        "remedy": text, "since": UNTIL, "new": True, **changes,
    }  # fmt: skip
    return OpenAlert(**values)


def report(text="x", alerts=(), tasks=None, **changes):
    values = {
        "instance": text, "since": UNTIL - timedelta(days=7), "until": UNTIL, "first": False, "alerts": alerts,
        "over": [ResolvedAlert("dead_tuples", text, text, text, UNTIL)],
        "tasks": [TaskSummary("analyze", text, 7, 7, 60.0, "finished", text)] if tasks is None else tasks,
        "work": [DoneWork("analyze", text, "analyze", text, 2, 1234567, 60.0)], "more_work": {("analyze", text): 3},
        "left": [UndoneStep("vacuum", text, text, "unfinished", text)], "databases": [Growth(text, 1e9, 2e9)],
        "tables": [Growth(text, 1e6, 1e6)], "mounts": [Growth(text, 1e9, 2e9, 4e9, date(2026, 5, 1))],
        "next": [NextDue("daily", UNTIL, ["analyze"])], "waiting": 2, **changes,
    }  # fmt: skip
    return Report(**values)


@pytest.mark.parametrize(
    ("severities", "colour", "sentence"),
    [
        ([], "green", "All is well: 7 runs, all finished, nothing needs attention."),
        (["info"], "green", "All is well: 7 runs, all finished, nothing needs attention."),
        (["warning"], "yellow", "1 alert needs attention (1 warning); 7 runs, all finished."),
        (
            ["warning", "high", "warning"],
            "orange",
            "3 alerts need attention (1 high, 2 warnings); 7 runs, all finished.",
        ),
        (
            ["critical", "info"],
            "red",
            "1 alert needs attention (1 critical); 7 runs, all finished.",
        ),
    ],
)
def test_report_sentence_and_colour_follow_alerts(severities, colour, sentence):
    made = report(alerts=[open_alert(Severity(one)) for one in severities])
    assert (made.colour, made.sentence) == (colour, sentence)


def test_report_without_runs_is_not_green():
    made = report(tasks=[])
    assert (made.colour, made.sentence) == (
        "orange",
        "Nothing has run since the last report; is the service running?",
    )
    made = report(tasks=[], alerts=[open_alert(Severity.CRITICAL)])
    assert (
        made.sentence
        == "1 alert needs attention (1 critical); nothing has run; is the service running?"
    )
    made = report(tasks=[], since=UNTIL - timedelta(hours=1))
    assert (made.colour, made.sentence) == (
        "green",
        "All is well: no run since the last report, nothing needs attention.",
    )


class TagParser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(sorted(name for name, _ in attributes))))

    def handle_data(self, data):
        self.text += data


def parsed(text):
    parser = TagParser()
    parser.feed(text)
    return parser


@given(
    st.just(HOSTILE)
    | st.text(st.sampled_from("<>&\"'{}%# x") | st.characters(codec="utf-8"), min_size=1)
)
def test_external_text_is_escaped_in_html(text):
    reference = parsed(
        letter(report(alerts=[open_alert(Severity.HIGH), open_alert(Severity.INFO)]), {}).html
    )
    made = letter(
        report(text, alerts=[open_alert(Severity.HIGH, text), open_alert(Severity.INFO, text)]), {}
    )
    assert parsed(made.html).tags == reference.tags
    assert text in made.text


def test_text_and_html_parts_have_same_content():
    made = letter(
        report(
            HOSTILE, alerts=[open_alert(Severity.HIGH, HOSTILE), open_alert(Severity.INFO, HOSTILE)]
        ),
        {},
    )
    shown = parsed(made.html).text
    for expected in (
        HOSTILE,
        "1 alert needs attention",
        "1,234,567",
        "1.9 GB",
        "+953.7 MB",
        "2026-05-01",
        "and 3 more",
        "daily",
    ):
        assert expected in made.text
        assert expected in shown


def test_page_embeds_images():
    made = letter(report(), {"nights": "AAAA"})
    assert 'src="cid:nights"' in made.html
    assert "cid:growth" not in made.html
    assert "cid:" not in page(made)
    assert 'src="data:image/png;base64,AAAA"' in page(made)


DAY = 86400.0


def test_disk_full_date_is_extrapolated():
    used = [(day * DAY, 100.0 + day) for day in range(11)]
    assert full_on(used, 130.0) == date(1970, 1, 31)
    assert full_on(used[:2], 130.0) is None, "one day is too short for a trend"
    assert full_on([(at, 200.0 - value) for at, value in used], 130.0) is None, "usage decreases"
    assert full_on(used, 1e6) is None, "more than two years ahead"
    assert full_on([], 1.0) is None


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e15)), max_size=30), st.floats(0, 1e15))
def test_disk_full_date_accepts_any_measurements(used, total):
    found = full_on(sorted(used), total)
    assert found is None or found >= datetime.fromtimestamp(max(at for at, _ in used), UTC).date()


@given(st.floats(0, 1e18))
def test_sizes_and_durations_are_short(value):
    assert len(units.format_size(value)) <= 13
    assert len(units.format_seconds(min(value, 1e9))) <= 16
    number, unit = units.format_size(value).split()
    length, name = units.byte_unit(value)
    assert name == unit
    assert math.isclose(float(number), value / length, abs_tol=0.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.01, "<0.1 s"),
        (1.26, "1.3 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_format_seconds(seconds, text):
    assert units.format_seconds(seconds) == text
