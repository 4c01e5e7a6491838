"""What the service says to the patch unit: its objections, and the record of an upgrade."""

import json
import os
import time
from datetime import timedelta

import pytest

from daemon.history import history, pause
from daemon.patching.objections import REASON, objections
from daemon.scheduling.tasks import CHECK_JOBS, tasks_of
from domain.finding import Finding, Identity, Severity
from domain.task import Scope, Task


@pytest.fixture
def house(house, tmp_path):
    """A house whose checks have run, with a backup of this hour."""
    house.with_logins = False
    house.exclude = ["risky_setting"]
    backup = tmp_path / "coop.dump"
    backup.write_bytes(b"x" * 1000)
    an_hour_ago = time.time() - 3600
    os.utime(backup, (an_hour_ago, an_hour_ago))
    house.extra = f'[checks.backup_age]\nfiles = "{tmp_path}/*.dump"\n'
    return house


@pytest.fixture
def quiet(house):
    """The context of a service without any objection."""
    context = house.context()
    for task in tasks_of(context, CHECK_JOBS):
        ran(context, task.job, task.scope, task.database)
    assert objections(context, hold=False) == []
    return context


def ran(context, job, scope, database, *, state="finished", age=timedelta()):
    """Record a run that has ended."""
    then = context.clock() - age
    with context.store.transaction() as transaction:
        number = history.begin_run(transaction, Task(job, scope, database), then)
        if state != "running":
            history.finish_run(transaction, number, (state, "", 0, None), then)
    return number


def alert(context, severity, kind="orphans"):
    identity = Identity(kind, "sereno", "", "main", "public.t")
    context.process_findings([Finding(identity, severity, "found")])


def test_checks_that_never_ran_are_an_objection(house):
    assert objections(house.context(), hold=False) == [
        "integrity_check of main has not run in the last 26 hours",
        "disk_check of the host has not run in the last 26 hours",
        "disk_check of main has not run in the last 26 hours",
    ]


def test_checks_of_an_older_night_or_without_an_end_are_objections(quiet):
    ran(quiet, "integrity_check", Scope.DATABASE, "main", age=timedelta(hours=27))
    number = ran(quiet, "disk_check", Scope.HOST, "", state="window_ended")
    assert objections(quiet, hold=False) == [
        "integrity_check of main has not run in the last 26 hours",
        f"disk_check of the host: the last run ended as window_ended (sereno history {number})",
    ]


def test_run_in_progress_is_an_objection(quiet):
    number = ran(quiet, "vacuum", Scope.DATABASE, "main", state="running")
    assert objections(quiet, hold=True) == [f"run {number} (vacuum main) is in progress"]
    with quiet.store.reading() as transaction:
        assert pause.paused(transaction, quiet.clock()) is None


@pytest.mark.parametrize(
    ("severity", "kind", "count"),
    [
        (Severity.CRITICAL, "orphans", 1),
        (Severity.HIGH, "orphans", 1),
        (Severity.WARNING, "orphans", 0),
        (Severity.HIGH, "task_failed", 1),
        (Severity.HIGH, "os_security_updates", 0),  # the upgrade is its cure
        (Severity.HIGH, "server_not_restarted", 0),
    ],
)
def test_open_alert_of_high_severity_is_an_objection(quiet, severity, kind, count):
    alert(quiet, severity, kind)
    found = objections(quiet, hold=False)
    assert len(found) == count
    assert all(f"{severity.value} {kind} main public.t" in one for one in found)


def test_backup_that_is_old_or_unknown_is_an_objection(house, quiet, tmp_path):
    long_ago = time.time() - 27 * 3600
    os.utime(tmp_path / "coop.dump", (long_ago, long_ago))
    (found,) = objections(quiet, hold=False)
    assert "27 hours old" in found
    house.extra = ""
    (found,) = objections(house.context(), hold=False)
    assert "no backup is known to sereno" in found
    house.extra = '[checks.backup_age]\ntool = "wal-g"\n'
    (found,) = objections(house.context(), hold=False)
    assert "wal-g" in found


def test_without_an_objection_all_work_is_paused(quiet):
    assert objections(quiet, hold=True) == []
    with quiet.store.reading() as transaction:
        paused = pause.paused(transaction, quiet.clock())
    assert paused.reason == REASON
    assert timedelta(minutes=29) < paused.until - quiet.clock() < timedelta(minutes=31)
    assert objections(quiet, hold=True) == []  # its own pause does not prevent another attempt


def test_pause_of_a_person_is_an_objection_and_stays(house, quiet):
    house.sereno("pause", "--for", "2h", "--reason", "month end")
    assert objections(quiet, hold=True) == ["sereno is paused: month end (sereno resume)"]
    record(house, report("skipped", "objects"))
    assert json.loads(house.sereno("status", "--json").stdout)["paused"]


def test_command_exits_with_1_for_an_objection(house, quiet):
    assert house.sereno("patch", "ask", "--hold").returncode == 0
    number = ran(quiet, "vacuum", Scope.DATABASE, "main", state="running")
    asked = house.sereno("patch", "ask", check=False)
    assert asked.returncode == 1
    assert asked.stdout == f"run {number} (vacuum main) is in progress\n"


def report(state, reason, *steps, nominal="2026-11-29T04:00:00"):
    return {
        "nominal": nominal,
        "started": "2026-11-29T04:05:00+00:00",
        "state": state,
        "reason": reason,
        "steps": [{"name": name, "object": what, "status": status} for name, what, status in steps],
    }


def record(house, given, *, check=True):
    text = given if isinstance(given, str) else json.dumps(given)
    return house.sereno("patch", "record", input=text, check=check)


def runs(house):
    return json.loads(house.sereno("history", "--json").stdout)


def test_upgrade_is_recorded_as_a_run_with_its_steps(house, quiet):
    objections(quiet, hold=True)
    steps = [("upgrade", "postgresql-15 15.18 → 15.20", "done"), ("answer", "15/main", "done")]
    record(house, report("finished", "installed", *steps))
    run = runs(house)[0]
    assert (run["job"], run["state"], run["schedule"]) == (
        "minor_upgrade",
        "finished",
        "sereno-patch",
    )
    shown = house.sereno("history", str(run["id"])).stdout
    assert "postgresql-15 15.18 → 15.20" in shown
    with quiet.store.reading() as transaction:
        assert pause.paused(transaction, quiet.clock()) is None


def test_failed_step_is_an_alert_until_an_upgrade_succeeds(house, quiet):
    record(house, report("failed", "upgrade …: apt-get ended", ("upgrade", "x", "failed")))
    (open_alert,) = json.loads(house.sereno("alerts", "list", "--json").stdout)
    assert (open_alert["kind"], open_alert["severity"]) == ("task_failed", "high")
    (found,) = objections(quiet, hold=False)
    assert "task_failed" in found
    record(house, report("finished", "installed", ("upgrade", "x", "done")))
    assert json.loads(house.sereno("alerts", "list", "--json").stdout) == []


def test_window_has_one_run_for_attempts_that_did_nothing(house):
    for reason in ("objects: a", "objects: a", "objects: b"):
        record(house, report("skipped", reason))
    assert [one["reason"] for one in runs(house)] == ["objects: b"]
    record(house, report("finished", "installed", ("upgrade", "x", "done")))
    record(house, report("finished", "no minor release is pending"))
    assert [one["reason"] for one in runs(house)] == ["installed"]
    record(house, report("skipped", "objects: a", nominal="2026-12-06T04:00:00"))
    assert [one["reason"] for one in runs(house)] == ["objects: a", "installed"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[" * 100_000, json.dumps(report("running", "")), "\xff"]
)
def test_anything_else_on_standard_input_is_refused(house, text):
    answer = record(house, text, check=False)
    assert answer.returncode == 2
    assert "is not a report" in answer.stderr
    assert runs(house) == []


def test_failure_of_the_unit_itself_prevents_nothing_and_ends_with_its_next_run(house, quiet):
    identity = Identity("service_failed", "test", object="sereno-patch.service")
    quiet.process_findings(
        [Finding(identity, Severity.CRITICAL, "sereno-patch.service has failed")]
    )
    assert objections(quiet, hold=False) == []
    record(house, report("finished", "installed", ("upgrade", "x", "done")))
    assert json.loads(house.sereno("alerts", "list", "--json").stdout) == []
