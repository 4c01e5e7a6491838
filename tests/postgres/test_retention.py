"""What sereno and its archive keep leaves by rules as well."""

import re
import time
from pathlib import Path

import pytest

from jobs.job import Scope

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


def age(house, years):
    house.database.run(
        f"UPDATE sereno.archive_batch SET archived_at = now() - interval '{years * 366 + 1} days'"
    )


def names(house):
    return sorted(path.name.partition(".")[2] for path in house.archive.rglob("*.*"))


def test_a_file_of_the_archive_leaves_when_its_time_has_come(archived):
    age(archived, 6)
    assert archived.run("archive")["steps"] == []
    age(archived, 7)
    assert "expire" in archived.sereno("plan", "archive").stdout
    assert names(archived) == ["copy.zst", "manifest.jsonl"], "a plan changes nothing"
    (step,) = archived.run("archive")["steps"]
    assert (step["name"], step["status"], step["rows"]) == ("expire", "done", 100)
    assert names(archived) == []
    assert "0 batches" in archived.sereno("archive", "verify").stdout
    assert archived.run("archive")["steps"] == []
    archived.database.run("INSERT INTO public.event VALUES (7, now() - interval '40 days')")
    assert archived.run("archive")["state"] == "finished"
    assert "1 batch" in archived.sereno("archive", "verify").stdout


def test_a_legal_hold_keeps_it(archived):
    age(archived, 9)
    archived.extra += "hold = true\n"
    assert archived.run("archive")["steps"] == []
    assert names(archived) == ["copy.zst", "manifest.jsonl"]


def test_a_file_that_somebody_else_has_written_stays(archived):
    age(archived, 9)
    (manifest,) = archived.archive.rglob("*.manifest.jsonl")
    manifest.write_text(
        re.sub('"instance": "[^"]*"', '"instance": "another"', manifest.read_text())
    )
    (step,) = archived.run("archive")["steps"]
    assert step["status"] == "failed"
    assert "the file is kept" in step["reason"]
    assert names(archived) == ["copy.zst", "manifest.jsonl"]


def test_our_own_history_and_reports_leave_too(house):
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


def test_the_current_log_of_a_server_stays_whatever_its_age(
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
        monkeypatch.setattr("jobs.log_cleanup.open_files", frozenset)  # as if we were not root
        assert house.run("log_cleanup", Scope.HOST)["state"] == "finished"
        left = {path.name for path in folder.iterdir()}
        assert current <= left
        assert len(left) == len(current) + 1
