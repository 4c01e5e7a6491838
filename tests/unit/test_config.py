"""Configuration: all errors at once with path and correction; secrets are never shown."""

import contextlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.load import ConfigError, load_config, parse
from daemon.config.notes import configuration_notes
from daemon.registry import JOB_NAMES
from domain.secret import Secret, SecretError
from domain.units import format_duration, parse_duration, parse_size
from retention.files.delete_files import check_path

ROOT = Path(__file__).parents[2]
MINIMAL = '[databases.main]\ndsn = "dbname=coop"\n'


def problems(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, JOB_NAMES)
    return caught.value.problems


def test_minimal_configuration_is_valid(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    assert load_config(path, JOB_NAMES).databases["main"].dsn == "dbname=coop"


def test_all_errors_are_reported_with_path(tmp_path):
    found = problems(
        tmp_path,
        MINIMAL
        + """
        frobnicate = 1
        [daemon]
        timezone = "America/La_Pas"
        listen = "here"
        [schedules.daily]
        cron = "0 25 * * *"
        windwo = "2h"
        jobs = ["analyze", "archiv", "vacum"]
        [[jobs.log_cleanup.tables]]
        table = 'public."AuditLog"'
        column = "fecha"
        keep = "400 days"
        [[jobs.log_cleanup.tables]]
        table = "AuditLog"
        column = "fecha"
        keep = "5x"
        [[jobs.log_cleanup.tables]]
        table = "public.x"
        column = "fecha"
        keep = "6m"
        [[jobs.log_cleanup.files]]
        path = "/*.log"
        keep = "30 days"
        [jobs.vacuum]
        parallel = 0
        [jobs.health_report]
        channels = ["mial"]
        [checks.wraparound]
        warning = "many"
        [checks.wraparund]
        [[checks.orphans]]
        child = "public.a(b)"
        parent = "public.b(c, d)"
        [channels.slack]
        type = "slak"
        [channels.mail]
        type = "email"
        host = "x"
        to = ["not an address"]
        [routes]
        high = ["slack", "mial"]
        """,
    )
    text = "\n".join(found)
    for path, expected in {
        "databases.main.frobnicate": "is unknown",
        "daemon.listen": '"here" is not an address and port (like "127.0.0.1:9188"',
        "jobs.vacuum.parallel": "must be at least 1",
        "jobs.health_report.channels[0]": "there is no channel 'mial'; did you mean 'mail'?",
        "daemon.timezone": '"America/La_Pas" is not a time zone',
        "schedules.daily.cron": "not a cron line",
        "schedules.daily.windwo": "did you mean 'window'?",
        "schedules.daily.jobs[1]": "'archiv' is not a job",
        "schedules.daily.jobs[2]": "'vacum' is not a job; did you mean 'vacuum'?",
        "jobs.log_cleanup.tables[1].keep": '"5x" is not a duration (like "30 days"',
        "jobs.log_cleanup.tables[2].keep": "give days, weeks or years",
        "jobs.log_cleanup.tables[1].table": "needs its schema",
        "jobs.log_cleanup.files[0].path": "too near the root",
        "checks.wraparound.warning": "must be a number",
        "checks.wraparund": "did you mean 'wraparound'?",
        "checks.orphans[0]": "same number of columns",
        "channels.slack.type": "'slak' is not one of slack, email",
        "channels.mail.to[0]": "is not an address",
        "routes.high[1]": "there is no channel 'mial'",
    }.items():
        line = next((one for one in found if one.startswith(f"{path}: ")), None)
        assert line is not None, (path, text)
        assert expected in line, line


@pytest.mark.parametrize("text", ["= 5", "[databases]", "databases = 5", "", 'checks = 5\n' + MINIMAL, 'schedules = "x"\n' + MINIMAL, 'channels = [1]\n' + MINIMAL, 'jobs = 1\nroutes = 2\n' + MINIMAL])  # fmt: skip
def test_malformed_file_is_reported(tmp_path, text):
    assert problems(tmp_path, text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(
        ["daemon", "databases", "schedules", "governor", "jobs", "checks", "channels", "routes"]
    ),
    json_values,
)
def test_arbitrary_section_value_raises_only_config_error(section, value):
    with contextlib.suppress(ConfigError):
        parse(Path("any.toml"), {"databases": {"m": {"dsn": ""}}, section: value}, JOB_NAMES)


@given(st.integers(1, 10**9))
def test_duration_format_round_trip(seconds):
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


def test_parse_size():
    assert [parse_size(text) for text in ("64 MB", "1gb", 512)] == [64 * 1024**2, 1024**3, 512]


@pytest.mark.parametrize(
    "path", ["relative/*.log", "/var/../etc/x/*", "/*.log", "/var/*.log", "/var/*/x.log"]
)
def test_unsafe_cleanup_path_is_rejected(path):
    with pytest.raises(ValueError):
        check_path(path)


CANARY = "c4nary-s3cret"


def test_secret_is_read_from_source_and_not_shown(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(CANARY + "\n")
    (tmp_path / "token").chmod(0o640)
    monkeypatch.setenv("SERENO_TEST_SECRET", CANARY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for secret in (
        Secret(file=tmp_path / "token"),
        Secret(env="SERENO_TEST_SECRET"),
        Secret(credential="token"),
    ):
        assert secret.reveal() == CANARY
        assert CANARY not in f"{secret!r} {secret}"
    with pytest.raises(SecretError, match="missing"):
        Secret(file=tmp_path / "missing").reveal()
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(SecretError, match=r"everybody may read .*token; chmod 600"):
        Secret(file=tmp_path / "token").reveal()


def test_unmatched_alert_rules_are_noted_and_escalation_step_needs_channel(tmp_path):
    rules = """
        [alerts]
        routes = [{ tag = "billing", channels = [] }]
        thresholds = [{ database = "mian" }, { job = "vacuum", database = "m*" }, { job = "analyze" }, { job = "vacum" }, { check = "task_orphaned" }, { check = "task_*" }]
    """
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + rules)
    found = [
        note
        for note in configuration_notes(load_config(path, JOB_NAMES))
        if note.startswith("alerts.")
    ]
    assert [note.partition(":")[0] for note in found] == [
        "alerts.thresholds[0].database",
        "alerts.thresholds[3].job",
        "alerts.thresholds[4].check",
        "alerts.routes[0].tag",
        "alerts.routes[0].channels",
    ]
    (problem,) = problems(tmp_path, MINIMAL + "[[escalation.steps]]\nchannels = []\n")
    assert problem.startswith("escalation.steps[0].channels")


ENTRY = '[[jobs.{}.tables]]\ntable = "public.log"\ncolumn = "at"\n{}\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[schedules.x]\ncron = "0 2 * * *"\njobs = ["analyze", "vacuum", "analyze"]\n',
            "schedules.x.jobs: 'analyze' is listed 2 times",
        ),
        (
            ENTRY.format("log_cleanup", 'keep = "30 days"') * 2,
            "jobs.log_cleanup.tables[1]: public.log is listed already in tables[0]",
        ),
        (
            ENTRY.format("log_cleanup", 'keep = "30 days"')
            + ENTRY.format("archive", 'older_than = "60 days"\nto = "file:///tmp/a"'),
            "jobs.log_cleanup.tables[0].keep: rows of public.log would be deleted before",
        ),
        (
            '[[checks.orphans]]\nchild = "public.a(b)"\nparent = "public.b(id)"\ndatabase = "x"\n',
            "checks.orphans[0].database: there is no database 'x' (known: main)",
        ),
    ],
)
def test_contradictory_settings_are_refused(tmp_path, text, problem):
    (found,) = problems(tmp_path, MINIMAL + text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        ENTRY.format("log_cleanup", 'keep = "30 days"\nwhere = "a"')
        + ENTRY.format("log_cleanup", 'keep = "60 days"\nwhere = "b"'),
        ENTRY.format("log_cleanup", 'keep = "90 days"')
        + ENTRY.format("archive", 'older_than = "60 days"\nto = "file:///tmp/a"'),
    ],
)
def test_settings_that_only_look_contradictory_are_accepted(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + text)
    assert load_config(path, JOB_NAMES)


def test_doubtful_channel_is_noted_and_maintenance_reason_is_required(tmp_path):
    channels = """
        [channels.pager]
        type = "command"
        command = ["/etc/passwd"]
        [channels.ticket]
        type = "webhook"
        url = "https://tickets.example.org/new"
        update_url = "https://tickets.example.org/change"
    """
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + channels)
    found = [
        note
        for note in configuration_notes(load_config(path, JOB_NAMES))
        if note.startswith("channels.") and "no route" not in note
    ]
    assert [note.partition(":")[0] for note in found] == [
        "channels.pager.command",
        "channels.ticket.update_url",
    ]
    window = 'cron = "0 1 * * sat"\nduration = "3h"\nauthor = "{}"\nreason = "  "\n'
    (problem,) = problems(tmp_path, MINIMAL + "[[alerts.maintenance]]\n" + window.format("ana"))
    assert problem == "alerts.maintenance[0].reason: must not be empty"


def test_job_may_have_own_schedule(tmp_path):
    own = '[jobs.analyze.schedule]\ncron = "*/30 * * * *"\n[schedules.{}]\ncron = "0 2 * * *"\njobs = ["analyze"]\n'
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + own.format("daily"))
    timetable = load_config(path, JOB_NAMES).timetable
    assert {name: (str(one.cron), one.jobs) for name, one in timetable.items()} == {
        "daily": ("0 2 * * *", ("analyze",)),
        "analyze": ("*/30 * * * *", ("analyze",)),
    }
    (problem,) = problems(tmp_path, MINIMAL + own.format("analyze"))
    assert problem.startswith("schedules.analyze: the job analyze has a schedule of its own")


DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EXAMPLES = [
    pytest.param(text, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_documentation_examples_are_valid(tmp_path, example):
    path = tmp_path / "config.toml"
    path.write_text(example if "[databases." in example else MINIMAL + example)
    assert load_config(path, JOB_NAMES).databases


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", "schedules: there is none"),
        ('[schedules.x]\ncron = "0 * * * *"\nwindow = "2h"\njobs = ["analyze"]\n', "schedules.x.window: 2h is longer than the 1h between"),
        ('[schedules.x]\ncron = "0 3 * * sun"\njobs = ["health_report"]\n', "health_report: no email channel"),
        (ENTRY.format("archive", 'older_than = "60 days"\nto = "file:///nowhere/a"'), "jobs.archive.tables[0].to: the folder /nowhere does not exist"),
    ],
)  # fmt: skip
def test_settings_without_effect_are_noted(tmp_path, text, note):
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + text)
    notes = list(configuration_notes(load_config(path, JOB_NAMES)))
    assert any(one.startswith(note) for one in notes), notes
