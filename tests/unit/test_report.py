"""Weekly health report: sentence, colour, both parts, escaping, disk forecast."""

import ast
import html.parser
import math
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, nodes

import alerts
from alerts import alert, digest
from alerts.alert import Reason
from alerts.alert_figures import Figures
from alerts.catalogue import TONGUES
from alerts.wording import reason_wording
from checks import registry
from daemon.alert_texts import spanish_texts
from daemon.disk_forecast import full_between, full_on
from daemon.history.fleet import WORKER_STATES
from daemon.report.gather import nights
from daemon.report.language import language
from daemon.report.layout import sentence
from daemon.report.render import letter, page
from daemon.report.report import (
    Done,
    DoneWork,
    Growth,
    MigrationState,
    NextDue,
    Night,
    OpenAlert,
    Proofs,
    Report,
    ResolvedAlert,
    Statement,
    TaskSummary,
    Texts,
    UndoneStep,
    Version,
)
from domain import units
from domain.finding import Severity

UNTIL = datetime(2026, 3, 8, 7, 0, tzinfo=UTC)
EN, ES = language("en"), language("es")
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
        "work": [DoneWork("analyze", text, "analyze", text, 2, 1234567, 60.0)],
        "done": [Done("analyze", 3, 1234567, 2**30, 60.0)],
        "left": [UndoneStep("vacuum", text, text, "unfinished", text)], "databases": [Growth(text, 1e9, 2e9)],
        "tables": [Growth(text, 1e6, 1e6)], "mounts": [Growth(text, 1e9, 2e9, 4e9, date(2026, 5, 1))],
        "wal": [Growth(text, 0, 5e9)], "next": [NextDue("daily", UNTIL, ["analyze"])],
        "nights": {"analyze": {"2026-03-08": Night(2, 1, 3, 0, 0, 61.0)}},
        "proofs": [Proofs(text, 100, 97, 3.2)], "versions": [Version(text, "18.6")],
        "statements": [Statement(text, text, 1000, 60000, 60.0, 20.0)],
        "migrations": [MigrationState(text, "0001", text, "expand", "running", text)],
        "figures": Figures(5, 2, 3, 120.0, 9, 1, 2), **changes,
    }  # fmt: skip
    return Report(**values)


@pytest.mark.parametrize(
    ("severities", "colour", "said"),
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
def test_report_sentence_and_colour_follow_alerts(severities, colour, said):
    made = report(alerts=[open_alert(Severity(one)) for one in severities])
    assert (made.colour, sentence(made, EN)) == (colour, said)


def test_report_without_runs_is_not_green():
    made = report(tasks=[])
    assert (made.colour, sentence(made, EN)) == (
        "orange",
        "Nothing has run since the last report; is the service running?",
    )
    made = report(tasks=[], alerts=[open_alert(Severity.CRITICAL)])
    assert (
        sentence(made, EN)
        == "1 alert needs attention (1 critical); nothing has run since the last report; is the "
        "service running?"
    )
    made = report(tasks=[], since=UNTIL - timedelta(hours=1))
    assert (made.colour, sentence(made, EN)) == (
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
        letter(report(alerts=[open_alert(Severity.HIGH), open_alert(Severity.INFO)]), {}, EN).html
    )
    made = letter(
        report(text, alerts=[open_alert(Severity.HIGH, text), open_alert(Severity.INFO, text)]),
        {},
        EN,
    )
    assert parsed(made.html).tags == reference.tags
    assert (
        text.split()[:1]
        == [word for word in made.text.split() if word == (text.split() or [""])[0]][:1]
    )


def test_text_and_html_parts_have_same_content():
    made = letter(
        report(
            HOSTILE, alerts=[open_alert(Severity.HIGH, HOSTILE), open_alert(Severity.INFO, HOSTILE)]
        ),
        {},
        EN,
    )
    shown = " ".join(parsed(made.html).text.split())
    text = " ".join(made.text.split())
    for expected in (
        HOSTILE,
        "1 alert needs attention",
        "1,234,567",
        "1.9 GB",
        "+953.7 MB",
        "1 May 2026",
        "3 left",
        "97 of 100",
        "daily",
        "PostgreSQL 18.6",
        "Opened: 5 · acknowledged: 2 · resolved: 3",
        "Messages delivered: 9 of 10 (90%).",
    ):
        assert expected in text
        assert expected in shown


def test_page_embeds_images():
    made = letter(report(), {"growth": "AAAA"}, EN)
    assert 'src="cid:growth"' in made.html
    assert "cid:disks" not in made.html
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


def test_forecast_has_a_band_that_holds_its_day():
    noisy = [(day * DAY, 100.0 + day + (-1) ** day) for day in range(20)]
    day = full_on(noisy, 200.0)
    earliest, latest = full_between(noisy, 200.0)
    assert earliest < day < latest
    exact = [(day * DAY, 100.0 + day) for day in range(20)]
    assert full_between(exact, 200.0) == (full_on(exact, 200.0),) * 2
    wild = [(day * DAY, 100.0 + 0.1 * day + 30 * (-1) ** day) for day in range(20)]
    found = full_between(wild, 140.0)
    assert found is None or found[1] is None, "it may as well not grow"


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e15)), max_size=30), st.floats(0, 1e15))
def test_band_holds_the_day(used, total):
    used = sorted(used)
    day, band = full_on(used, total), full_between(used, total)
    if band is not None:
        assert band[0] <= day
        assert band[1] is None or day <= band[1]


def test_night_shows_the_worst_of_its_runs():
    def run(state, job="vacuum", left=0, database="a"):
        return {"job": job, "state": state, "steps_left": left, "seconds": 60.0, "started_at": "2026-03-08T05:00:00.000000Z", "database": database}  # fmt: skip

    rows = [
        *(run("failed"), run("finished"), run("window_ended", left=4, database="b")),
        *(run("failed", "analyze"), run("running")),
    ]
    found = nights([*rows, run("finished", "health_report")], UTC)
    assert list(found) == ["analyze", "vacuum"]
    assert found["vacuum"]["2026-03-08"] == Night(2, 1, 4, 0, 0, 180.0)
    made = letter(report(nights=found), {}, EN)
    assert "4 left" in made.html
    assert ">failed<" in made.html


def test_worse_and_better_alerts_are_counted():
    alerts = [
        open_alert(Severity.HIGH, new=False, before=Severity.WARNING),
        open_alert(Severity.WARNING, new=False, before=Severity.CRITICAL),
        open_alert(Severity.WARNING, new=False, before=Severity.WARNING),
    ]
    text = letter(report(alerts=alerts), {}, EN).text
    assert "New: 0 · still open: 3 · worse: 1 · better: 1 · gone: 1" in " ".join(text.split())
    assert "worse, was warning" in text
    assert "empeoró (antes advertencia)" in letter(report(alerts=alerts), {}, ES).text


def test_spanish_report_has_spanish_words_numbers_and_dates():
    es = Texts("Una tabla tiene muchas filas muertas", "5 filas muertas", "VACUUM t")
    made = letter(report(alerts=[open_alert(Severity.HIGH, es=es)]), {}, ES)
    text = " ".join(made.text.split())
    for expected in (
        "NARANJA: 1 alerta necesita atención (1 alta); 7 ejecuciones, todas terminadas.",
        "domingo 1 de marzo a domingo 8 de marzo",
        "Una tabla tiene muchas filas muertas",
        "5 filas muertas",
        "1,9 GB",
        "1.234.567",
        "Necesita atención",
        "en curso",
    ):
        assert expected in text
    assert 'lang="es"' in made.html


EMPTY = {
    "alerts": (), "over": (), "tasks": (), "work": (), "done": (), "left": (), "databases": (), "tables": (), "mounts": (),
    "wal": (), "next": (), "nights": {}, "proofs": (), "versions": (), "statements": (), "migrations": (),
    "figures": Figures(), "since": UNTIL - timedelta(hours=1),
}  # fmt: skip


def test_summary_that_a_check_makes_itself_is_translated_if_its_columns_are_known():
    header = registry.load()["orphans"].header
    english = ("7 rows of a without their row in b", "")
    known = {"rows": 7, "child": "a", "parent": "b"}
    assert spanish_texts(header, "a -> b", known, english)[0] == "7 filas de a sin su fila en b"
    unseen = ("not checked: the table is missing", "")
    assert spanish_texts(header, "a -> b", {}, unseen) == unseen


def test_empty_sections_are_one_line():
    text = letter(report(**EMPTY), {}, EN).text
    sections = text.split("\n\n\n")[1:-1]
    assert len(sections) == 11
    for section in sections:
        assert len(section.splitlines()) == 3, section


def test_text_fits_eighty_columns_but_for_statements():
    made = letter(
        report(
            "a" * 20, alerts=[open_alert(Severity.HIGH, summary="word " * 60, remedy="word " * 60)]
        ),
        {},
        EN,
    )
    assert [line[:20] for line in made.text.splitlines() if len(line) > 79] == [
        "  -> word word word "
    ]


def test_same_report_gives_same_bytes():
    made = [letter(report(HOSTILE), {"growth": "AAAA"}, words).html for words in (EN, EN, ES, ES)]
    assert made[0] == made[1] != made[2] == made[3]


def catalogue_messages(name):
    """Return the messages of a catalogue with their translations."""
    import io
    from importlib import resources

    from babel.messages import pofile

    text = (resources.files("alerts") / "locale" / f"{name}.po").read_bytes()
    found = pofile.read_po(io.BytesIO(text))
    return {
        message.id if isinstance(message.id, str) else message.id[0]: message.string
        for message in found
        if message.id
    }


def said_messages():
    """Return the texts that the messages about alerts say in the language of their reader."""
    folder = Path(alerts.__file__).parent
    found = set(re.findall(r"said\('([^']+)'", (folder / "channels/alert.html").read_text("utf-8")))
    for path in folder.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and "said" in {getattr(call.func, "id", ""), getattr(call.func, "attr", "")}:  # fmt: skip
                found |= {
                    one.value
                    for argument in call.args
                    for one in ast.walk(argument)
                    if isinstance(one, ast.Constant)
                }
    return found


def messages_of_pages():
    """Return the texts of the status page, and the words that the program puts into them."""
    from daemon.web import html

    found = set(html.TOLD.values()) | set(alert.State) | set(Reason)
    found |= {"pending", "leased", "sent", "dead", "open", "closed", "waived"}
    found |= {"Overview", "Findings", "Alerts", "Outbox", "Coverage", "Archive", "Migrations", "Reports", "Configuration", "Audit"}  # fmt: skip
    folder = Path(html.__file__).parent
    for path in (folder / "templates").glob("*.html"):
        for call in (
            Environment(autoescape=True).parse(path.read_text("utf-8")).find_all(nodes.Call)
        ):
            if getattr(call.node, "name", "") == "t":
                texts = {call.args[0], *call.args[0].find_all(nodes.Const)}
                found |= {one.value for one in texts if isinstance(one, nodes.Const)}
    for path in folder.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"said", "Entry"}:
                found |= {one.value for one in call.args if isinstance(one, ast.Constant)}
            if isinstance(call, ast.Call) and "entry" in {getattr(call.func, "attr", ""), getattr(call.func, "id", "")}:  # fmt: skip
                found |= {one.value for one in call.args[:1] if isinstance(one, ast.Constant)}
    return found - {""}


def test_catalogue_is_complete():
    """Every message of the layout, and every word that the program puts into it, is translated."""
    from babel.messages.extract import extract_from_file

    from daemon.report import layout, layout_work
    from domain.kinds import KINDS
    from execution.step import Status
    from migrations.state import State

    known = catalogue_messages("es")
    wanted = set()
    for module in (layout, layout_work):
        found = extract_from_file(
            "python", Path(module.__file__), keywords={"text": None, "count": (1, 2)}
        )
        wanted |= {one[1] if isinstance(one[1], str) else one[1][0] for one in found}
    wanted |= {one.value for one in (*Severity, *Status, *State)} | {"green", "yellow", "orange", "red"}  # fmt: skip
    wanted |= {"finished", "failed", "window_ended", "throttled", "interrupted", "skipped", "running"}  # fmt: skip
    wanted |= {one for one, _ in digest.COUNTED.values()} | set(WORKER_STATES)
    wanted |= {"channel test: nothing is wrong", "This message tests the channel. No action is needed."}  # fmt: skip
    wanted |= {"first seen", "seen", "flapping", "late", "it", "ended by", "not delivered by"}
    wanted |= said_messages() | messages_of_pages() | {reason_wording(one) for one in Reason} - {""}
    names = KINDS.values() if hasattr(KINDS, "values") else KINDS
    kinds = {getattr(one, "name", one) for one in names}
    wanted |= {one.replace("_", " ").capitalize() for one in kinds}
    assert wanted - known.keys() == set()
    assert known.keys() - wanted == {"indexes and tables", "foreign keys"}
    assert [one for one, said in known.items() if not said or (isinstance(said, tuple) and not all(said))] == []  # fmt: skip
    assert set(TONGUES) == {"en", "es"}


def test_translations_keep_the_placeholders():
    for message, said in catalogue_messages("es").items():
        forms = said if isinstance(said, tuple) else (said,)
        for form in forms:
            assert set(re.findall(r"\{\w+\}", form)) == set(re.findall(r"\{\w+\}", message)), (
                message
            )


def test_html_stays_below_what_mail_readers_cut(monkeypatch):
    long = "x " * 1000
    alerts = [open_alert(Severity.HIGH, long) for _ in range(400)]
    alerts += [open_alert(Severity.INFO, long) for _ in range(400)]
    over = [ResolvedAlert("dead_tuples", long, long, long, UNTIL)] * 400
    left = [UndoneStep("vacuum", "main", "public.t" * 8, "failed", long)] * 30
    made = letter(report(alerts=alerts, over=over, left=left), {}, ES)
    assert len(made.html.encode()) < 100_000
    assert "380" in made.text


def test_wal_is_told_once_for_each_server(monkeypatch):
    from daemon.report import gather_growth

    at = [f"2026-03-0{day}T05:00:00.000000Z" for day in (1, 8)]
    rows = [
        {"database": name, "object": "", "value": start + 100.0 * number, "taken_at": at[number]}
        for name, start in (("a", 0.0), ("b", 3.0), ("other", 7.0))
        for number in (0, 1)
    ]
    monkeypatch.setattr(gather_growth.statistics, "load_series", lambda *_: rows)
    found = gather_growth.wal(None, UNTIL - timedelta(days=7), {"a": "1", "b": "1", "other": "2"})
    assert [(one.what, one.change) for one in found] == [("a", 100.0), ("other", 100.0)]


def test_spanish_texts_have_the_numbers_of_the_english_ones():
    from checks.check import Header
    from daemon.report.gather_alerts import spanish

    class Found:
        kind, object, remedy = "x", "public.t", "do 42"
        summary, evidence = "42 for 3 days", {"days": 3, "value": 42}

    header = Header("x", "title", summary="{value} for {days} days", remedy="do {value}",
                    es={"title": "t", "summary": "{value} desde hace {days} días", "remedy": "haga {value}"})  # fmt: skip
    texts = spanish(Found, header)
    assert (texts.summary, texts.remedy) == ("42 desde hace 3 días", "haga 42")
    Found.evidence = {"days": 3}
    assert spanish(Found, header).summary == "42 for 3 days", "without the value it stays English"
    Found.summary, Found.remedy = "its own words", "its own cure"
    assert spanish(Found, Header("x", "t", es={"title": "t"})).summary == "its own words"
