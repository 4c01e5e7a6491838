"""The command line: output, exit codes, error messages without a traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["now", "vacuumm"], 2, "there is no job or schedule"),
        (["now", "analyze", "--window", "5x"], 2, '--window: "5x" is not a duration'),
        (["now", "analyze", "--database", "mian"], 2, "no database 'mian'"),
        (
            ["now", "analyze", "--fail-on", "terrible"],
            2,
            "not one of info, warning, high, critical",
        ),
        (["check", "orphan"], 2, "no check 'orphan'"),
        (["history", "4711"], 2, "no run 4711"),
        (["history", "99999999999999999999"], 2, ""),
        (["alerts", "ack", "4711"], 2, "there is no alert 4711"),
        (["alerts", "resolve", "4711"], 2, "there is no alert 4711"),
        (["alerts", "test"], 2, "no channel is configured"),
        (["pause", "--until", "25:99"], 2, "not a time"),
        (["pause", "--until", "2001-01-01T00:00"], 2, "is in the past"),
        (["install", "main"], 78, "needs logins"),
        (["trust", "nobody"], 2, "no database 'nobody'"),
        (["frobnicate"], 2, "there is no command 'frobnicate' (known: demo, run,"),
        (["histroy"], 2, "there is no command 'histroy'; did you mean 'history'?"),
        (["alerts", "lst"], 2, "did you mean 'list'?"),
    ],
)
def test_invalid_arguments_are_reported_without_a_traceback(house, arguments, code, message):
    house.with_logins = False
    house.context()
    if arguments[0] in {"frobnicate", "histroy"}:
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
    else:
        done = house.sereno(*arguments, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr.replace("\n", " ")


def test_history_lists_runs_and_shows_one_in_full(house):
    missing = house.sereno("history", check=False)
    assert (missing.returncode, "there is no state" in missing.stderr) == (2, True)
    assert not (house.folder / "state.db").exists()
    house.context()
    assert house.sereno("history").stdout == "no run yet\n"
    house.with_logins = False
    house.database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 5000)"
    )
    house.sereno("now", "analyze", "integrity_check")
    listed = house.sereno("history").stdout
    assert "analyze" in listed
    assert "finished" in listed
    assert listed.splitlines()[-1].endswith("One run: sereno history RUN")
    shown = house.sereno("history", "1").stdout
    assert shown.startswith("run 1: analyze in main, by hand   finished\n")
    assert "done" in shown
    assert "public.t" in shown


def test_plan_names_the_configuration_entry_of_a_refused_step(house):
    house.with_logins = False
    house.extra = (
        '[[jobs.log_cleanup.tables]]\ntable = "public.missing"\ncolumn = "at"\nkeep = "30 days"\n'
    )
    done = house.sereno("plan", "log_cleanup")
    assert done.returncode == 1
    assert "public.missing: there is no such table" in " ".join(done.stdout.split())
    assert "(jobs.log_cleanup.tables[0])" in done.stdout


def test_check_prints_findings_and_records_no_run(house):
    house.with_logins = False
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 92)")
    done = house.sereno("check", "--json", check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(one["check"], one["object"], one["severity"]) for one in found["findings"]] == [
        ("sequence_exhaustion", "public.s", "high")
    ]
    assert house.sereno("check", "--fail-on", "critical").returncode == 0
    assert house.sereno("check", "invalid_index").returncode == 0
    assert json.loads(house.sereno("history", "--json").stdout) == []
    assert "sequence_exhaustion" in house.sereno("check").stdout


def test_checks_are_listed_and_explained(house):
    house.with_logins = False
    house.extra = "[checks.wraparound]\nwarning = 0.3\n"
    listed = house.sereno("check", "--list").stdout
    assert "risky_setting" in listed
    assert "(excluded)" in listed
    text = house.sereno("check", "--explain", "wraparound").stdout
    assert "warning = 0.3" in text
    assert "least(0.3, 0.45, 0.7)" in text
    rows = json.loads(house.sereno("check", "--list", "--json").stdout)
    assert {"check", "scope", "title", "excluded", "options", "ignore"} == rows[0].keys()
    assert house.sereno("check", "--explain", "wrapround", check=False).returncode == 2
    text = house.sereno("check", "--explain", "roles_changed").stdout
    assert "compared with earlier looks: what is new or changed" in text
    unknown = house.sereno("check", "--explain", "zzzzz", check=False).stderr
    assert len(unknown) < 700


def test_file_that_cannot_be_used_is_named_by_now_and_check(house):
    house.with_logins = False
    (house.folder / "checks.d").mkdir()
    file = house.folder / "checks.d" / "mine.sql"
    file.write_text("SELECT 1")
    ran = house.sereno("now", "disk_check", check=False)
    assert (ran.returncode, "mine.sql: the header has no title" in ran.stderr) == (1, True)
    looked = house.sereno("check", check=False)
    text = " ".join(looked.stdout.split())
    assert (looked.returncode, text.count("mine.sql: the header has no title")) == (2, 1)
    assert "mine: does not run" not in text
    kinds = [one["kind"] for one in json.loads(house.sereno("alerts", "list", "--json").stdout)]
    assert "configuration_invalid" in kinds
    file.unlink()
    house.sereno("now", "disk_check", check=False)
    kinds = [one["kind"] for one in json.loads(house.sereno("alerts", "list", "--json").stdout)]
    assert "configuration_invalid" not in kinds


def test_custom_check_is_run_with_options_and_remedy(house):
    house.with_logins = False
    (house.folder / "checks.d").mkdir()
    (house.folder / "checks.d" / "big.sql").write_text(
        '-- title = "big"\n-- option.warning = { default = 5 }\n-- remedy = "shrink {object}"\n'
        "SELECT 'a' AS object, 7 AS value, 'too big' AS summary WHERE 7 >= :warning"
    )
    assert house.finding("integrity_check", "big")["remedy"] == "shrink a"
    house.extra = "[checks.big]\nwarning = 8\n"
    assert house.run("integrity_check")["findings"] == []


def test_pause_is_named_by_plan_and_now_and_concerns_no_check(house):
    house.with_logins = False
    house.extra = '[governor]\npatience = "1s"\n'
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t SELECT 1")
    house.sereno("pause", "--reason", "release")
    assert "PAUSED  main: sereno pause" in house.sereno("plan", "analyze").stdout
    assert house.sereno("check", "wraparound").returncode == 0
    done = house.sereno("now", "analyze", check=False)
    assert (done.returncode, "waiting: sereno pause" in done.stderr) == (3, True)


def test_query_of_the_governor_that_fails_is_named_by_plan(house):
    house.with_logins = False
    house.extra = '[governor]\nquery = "SELEKT"\n'
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t SELECT 1")
    done = house.sereno("plan", "analyze")
    assert "PAUSED  main: governor.query fails: syntax error" in done.stdout.replace("\n", " ")
    house.extra = '[governor]\nquery = "SELEKT"\npatience = "1s"\n'
    assert "governor.query fails: syntax error" in house.run("analyze")["reason"]


@pytest.mark.parametrize("reads", ["rows", "catalog"])
@pytest.mark.parametrize("more", ["DROP TABLE public.x", "COMMIT; DROP TABLE public.x"])
def test_second_statement_of_a_custom_check_is_not_run(house, reads, more):
    house.with_logins = False
    house.database.run("CREATE TABLE public.x (a int)")
    (house.folder / "checks.d").mkdir()
    header = f'-- title = "big"\n-- reads = "{reads}"\n'
    (house.folder / "checks.d" / "big.sql").write_text(f"{header}SELECT 1; {more}")
    run = house.run("integrity_check")
    assert run["state"] == "failed"
    assert "multiple commands" in run["reason"] or 'syntax error at or near ";"' in run["reason"]
    assert house.database.value("SELECT to_regclass('public.x') IS NOT NULL")


def test_unreachable_database_raises_one_alert_resolved_on_recovery(house, endpoint):
    ticket = endpoint()
    house.with_logins = False
    house.extra = (
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
        '[routes]\nhigh = ["ticket"]\ncritical = ["ticket"]\n'
    )
    path = house.write()
    reachable = path.read_text()
    house.write = lambda: path
    path.write_text(re.sub(r"port=\d+", "port=1", reachable))
    assert house.sereno("now", "analyze", "integrity_check").returncode == 1
    path.write_text(reachable)
    assert house.sereno("now", "analyze").returncode == 0
    notified = [json.loads(request["body"])["data"] for request in ticket.requests]
    assert [(one["kind"], one["state"]) for one in notified] == [
        ("database_unreachable", "firing"),
        ("database_unreachable", "resolved"),
    ]


def test_pause_and_resume(house):
    house.with_logins = False
    house.sereno("pause", "--until", "23:59", "--reason", "release")
    assert "paused" in house.sereno("status").stdout
    assert house.sereno("resume").stdout == "resumed\n"
    assert house.sereno("resume").stdout == "nothing was paused\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["pause"],
        ["resume"],
        ["status"],
        ["history"],
        ["plan"],
        ["check"],
        ["alerts", "list"],
        ["alerts", "outbox"],
        ["config", "check"],
    ],
)
def test_command_output_is_available_as_json(house, arguments):
    house.with_logins = False
    house.context()
    assert json.loads(house.sereno(*arguments, "--json").stdout) is not None


def test_status_next_lists_ten_due_times_in_local_time_and_utc(house):
    house.with_logins = False
    house.context()
    dues = json.loads(house.sereno("status", "--next", "--json").stdout)
    assert len(dues) == 10
    assert {due["schedule"] for due in dues} == {"daily"}
    assert all(due["local"].endswith("02:00 -04") and due["utc"].endswith("06:00") for due in dues)
    assert [due["nominal"][4:] for due in dues] == sorted(due["nominal"][4:] for due in dues)
    assert "status" not in house.sereno("status", "--next").stderr


def test_alerts_test_prints_the_result_of_each_channel(house, endpoint):
    house.with_logins = False
    good, bad = endpoint(), endpoint(lambda *_: (404, {}, b""))
    house.extra = "".join(
        f'[channels.{name}]\ntype = "webhook"\nurl = "{server.url}/"\n'
        for name, server in (("good", good), ("bad", bad))
    )
    done = house.sereno("alerts", "test", check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "good: accepted: HTTP 200, ticket T-1\nbad: dead (HTTP 404)\n",
    )
    assert json.loads(good.requests[0]["body"])["data"]["reason"] == "channel_test"
    assert house.sereno("alerts", "test", "good").returncode == 0


def test_acknowledged_alert_is_listed_with_its_author(house):
    house.with_logins = False
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 92)")
    house.run("integrity_check")
    (alert,) = json.loads(house.sereno("alerts", "list", "--json").stdout)
    house.sereno("alerts", "ack", str(alert["alert"]), "--as", "ana")
    (alert,) = json.loads(house.sereno("alerts", "list", "--json").stdout)
    assert (alert["state"], alert["acknowledged_by"]) == ("acknowledged", "ana")
    house.sereno("alerts", "resolve", str(alert["alert"]))
    assert json.loads(house.sereno("alerts", "list", "--json").stdout) == []


def test_now_exits_busy_while_another_run_holds_the_lock(house, wait):
    house.with_logins = False
    with house.database.connect(autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, 1)", [int.from_bytes(b"sern")])
        done = house.sereno("now", "analyze", check=False)
    assert done.returncode == 75
    assert "another sereno is at work" in done.stdout.replace("\n", " ") or "busy" in done.stdout
