"""Retention of archive files, of the run history and of server logs."""

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.job import Scope
from postgres.session import MAINTAIN, Login, open_session
from tests.postgres.archive_table import TABLE, files, fill, ids

ARCHIVE = """
[[jobs.archive.tables]]
table = 'public.event'
column = "at"
older_than = "30 days"
to = "file://{}"
keep = "7 years"
"""


@pytest.fixture
def archived(house):
    run = house.database.run
    run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz)")
    house.archive = house.folder / "archive"
    house.extra = ARCHIVE.format(house.archive)
    house.install()
    run(
        "INSERT INTO public.event SELECT n, now() - interval '40 days' FROM generate_series(1, 100) n"
    )
    assert house.run("archive")["state"] == "finished"
    return house


def backdate_batches(house, years):
    house.database.run(
        f"UPDATE sereno.archive_batch SET archived_at = now() - interval '{years * 366 + 1} days'"
    )


def file_names(house):
    return sorted(path.name.partition(".")[2] for path in house.archive.rglob("*.*"))


def test_archive_file_is_deleted_after_keep_period(archived):
    backdate_batches(archived, 6)
    assert archived.run("archive")["steps"] == []
    backdate_batches(archived, 7)
    assert "expire" in archived.sereno("plan", "archive").stdout
    assert file_names(archived) == ["copy.zst", "manifest.jsonl"], "a plan changes nothing"
    (step,) = archived.run("archive")["steps"]
    assert (step["name"], step["status"], step["rows"]) == ("expire", "done", 100)
    assert file_names(archived) == []
    assert "0 batches" in archived.sereno("archive", "verify").stdout
    assert archived.run("archive")["steps"] == []
    archived.database.run("INSERT INTO public.event VALUES (7, now() - interval '40 days')")
    assert archived.run("archive")["state"] == "finished"
    assert "1 batch" in archived.sereno("archive", "verify").stdout


def test_archive_file_on_hold_is_kept(archived):
    backdate_batches(archived, 9)
    archived.extra += "hold = true\n"
    assert archived.run("archive")["steps"] == []
    assert file_names(archived) == ["copy.zst", "manifest.jsonl"]


def test_archive_file_of_another_instance_is_kept(archived):
    backdate_batches(archived, 9)
    (manifest,) = archived.archive.rglob("*.manifest.jsonl")
    manifest.write_text(
        re.sub('"instance": "[^"]*"', '"instance": "another"', manifest.read_text())
    )
    (step,) = archived.run("archive")["steps"]
    assert step["status"] == "failed"
    assert "the file is kept" in step["reason"]
    assert file_names(archived) == ["copy.zst", "manifest.jsonl"]


def test_self_cleanup_deletes_old_history_but_not_new_reports(house):
    run = house.run("disk_check", Scope.HOST)
    reports = house.folder / "reports"
    reports.mkdir()
    for name in ("2024-01-07", "2024-01-14"):
        (reports / f"{name}.html").write_text("x")
        time.sleep(0.01)
    context = house.context()
    assert run["id"] == 1
    with context.store.transaction() as transaction:
        transaction.execute("UPDATE run SET finished_at = '2024-01-01T00:00:00.000000Z'")
        transaction.execute(
            "INSERT INTO notification (id, channel, reason, severity, message, created_at, not_before, state)"
            " VALUES ('old', 'x', 'x', 'info', '{}', '2024-01-01T00:00:00.000000Z', '', 'sent'),"
            " ('waits', 'x', 'x', 'info', '{}', '2024-01-01T00:00:00.000000Z', '9', 'pending')"
        )
    result = house.run("self_cleanup")
    assert [(step["name"], step["status"]) for step in result["steps"]] == [("purge", "done")], (
        result
    )
    with context.store.reading() as transaction:
        assert [row["id"] for row in transaction.rows("SELECT id FROM run")] == [result["id"]]
        assert [row["id"] for row in transaction.rows("SELECT id FROM notification")] == ["waits"]
        assert transaction.rows("SELECT * FROM step WHERE run = 1") == []
    assert len(list(reports.iterdir())) == 2  # written today, whatever their names say


def test_clock_that_jumped_ahead_deletes_no_history(house):
    context = house.context()
    with context.store.transaction() as transaction:
        for number in range(30):
            transaction.execute(
                "INSERT INTO run (job, database, scope, state, process, started_at, finished_at)"
                " VALUES ('analyze', 'main', 'database', 'finished', 1, ?, ?)",
                (f"2026-01-{number + 1:02}T00:00:00.000000Z",) * 2,
            )
    context = replace(context, clock=lambda: datetime(2036, 1, 1, tzinfo=UTC))
    run = house.run("self_cleanup", context=context)
    assert run["state"] == "failed"
    assert "30 of 30 runs ended more than" in run["reason"]
    assert "is the clock right?" in run["reason"]
    with context.store.reading() as transaction:
        assert transaction.row("SELECT count(*) AS runs FROM run")["runs"] == 31


def test_current_server_log_is_not_deleted(
    make_database, tmp_path, make_house, clusters, monkeypatch
):
    cluster = clusters(
        "embedded", logging_collector="on", log_filename="pg-%H%M%S.log", log_statement="none"
    )
    with make_database(cluster) as database:
        house = make_house(tmp_path, database)
        folder = Path(database.value("SELECT current_setting('data_directory')")) / "log"
        current = {path.name for path in folder.iterdir()}
        assert current
        for n in range(5):
            (folder / f"pg-new{n}.log").write_text("x" * 1000)
        house.with_logins = False
        house.extra = f'[[jobs.log_cleanup.files]]\npath = "{folder}/*.log"\ntotal = "1 kb"\nkeep_newest = 1\n'
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 7200)
        monkeypatch.setattr(
            "jobs.log_cleanup.open_files", frozenset
        )  # as for a user other than root
        assert house.run("log_cleanup", Scope.HOST)["state"] == "finished"
        remaining = {path.name for path in folder.iterdir()}
        assert current <= remaining
        assert len(remaining) == len(current) + 1


def test_file_with_newer_batch_is_not_expired(event, control):
    event.extra += "where = 'id % 2 = 0'\nkeep = '7 days'\n" + TABLE.format(event.archive) + "where = 'id % 2 = 1'\nkeep = '7 days'\n"  # fmt: skip
    event.install()
    fill(event, 100)
    event.run("archive")
    event.database.run("UPDATE sereno.archive_batch SET archived_at = now() - interval '8 days'")
    event.database.run("INSERT INTO public.event SELECT n, now() - interval '40 days', 'fresh' FROM generate_series(1000, 1010, 2) n")  # fmt: skip
    steps = event.plan("archive")
    assert [step.name for step in steps] == ["expire", "archive", "expire"]
    context = event.context()
    with open_session(context.target("main"), Login("data"), "archive") as opened, open_session(context.target("main"), MAINTAIN, "archive") as owner:  # fmt: skip
        assert steps[1].apply(opened, control).status == "done"
        outcome = steps[2].apply(owner, control)
    assert (outcome.status, "newer" in outcome.reason) == ("skipped", True)
    assert len(ids(event)) == 106


def test_files_expire_after_server_upgrade(event):
    event.extra += "keep = '7 years'\n"
    fill(event, 5)
    event.run("archive")
    (manifest,) = event.archive.rglob("*.manifest.jsonl")
    header, *rest = manifest.read_text().splitlines(keepends=True)
    manifest.write_text(
        json.dumps({**json.loads(header), "system_identifier": "1"}) + "\n" + "".join(rest)
    )
    event.database.run("UPDATE sereno.archive_batch SET archived_at = now() - interval '9 years'")
    assert event.run("archive")["state"] == "finished"
    assert files(event) == []
