"""Metrics of coverage, disks, transaction ids, pauses and windows; the file for node_exporter."""

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import store
from daemon.history import history, statistics
from daemon.monitoring.metrics import BUCKETS
from domain.task import Scope, Task, Trigger
from store.opening import open_store
from store.timestamps import to_text

NOW = datetime.now(UTC)
SCHEMAS = ("schema/sqlite/0010_totals.sql", "schema/postgresql/0011_initial.sql")
TOTAL = re.compile(r"_(total|sum|count|bucket)$")


@pytest.fixture
def filled(house):
    """Return a house whose store has two weeks of measures and one night of a schedule."""
    house.with_logins = False
    house.run("disk_check")
    with house.context().store.transaction() as transaction:
        for back in range(14, 0, -1):
            at = to_text(NOW - timedelta(days=back))
            for name, place, value in (
                ("disk_bytes", ("", "/data"), 1e11), ("disk_used_bytes", ("", "/data"), 9e10 - back * 1e9),
                ("proofs_wanted", ("main", ""), 100), ("proofs", ("main", ""), 90), ("oldest_proof_days", ("main", ""), 3.5),
            ):  # fmt: skip
                transaction.execute(
                    "INSERT INTO measure VALUES (1, ?, ?, ?, ?, ?)", (name, *place, value, at)
                )
        for minutes in (0, 30):
            began = NOW - timedelta(hours=5) + timedelta(minutes=minutes)
            transaction.execute(
                "INSERT INTO run (job, scope, database, schedule, nominal, started_at, finished_at, state, process)"
                " VALUES ('analyze', 'database', 'main', 'daily', '2026-01-01T02:00', ?, ?, 'running', 1)",
                (to_text(began), to_text(began + timedelta(minutes=30))),
            )  # fmt: skip
        run = transaction.row("SELECT max(id) AS id FROM run")["id"]
        for number, seconds in ((1, 5.0), (2, 7.0)):
            transaction.execute(
                "INSERT INTO step (run, ordinal, name, object, status, seconds, paused_seconds, paused_by, finished_at)"
                " VALUES (?, ?, 'analyze', 'public.t', 'done', 9, ?, 'replica lag', ?)",
                (run, number, seconds, to_text(NOW)),
            )
        transaction.execute("UPDATE run SET state = 'finished' WHERE state = 'running'")
        for database in ("main", "second"):
            transaction.execute(
                "INSERT INTO measure VALUES (1, 'ids_used', ?, '', 1073741824, ?)",
                (database, to_text(NOW)),
            )
            transaction.execute(
                "INSERT INTO target (database, system_identifier, database_oid, timeline, first_seen)"
                " VALUES (?, 'one', 1, 1, ?) ON CONFLICT (database) DO UPDATE SET system_identifier = 'one'",
                (database, to_text(NOW)),
            )
    return house


def samples(text):
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_values_are_those_of_the_store(filled):
    found = samples(filled.sereno_here("metrics").stdout)
    assert found["sereno_coverage_proven_objects", "main", "indexes and tables"] == 90
    assert (
        found["sereno_coverage_oldest_proof_seconds", "main", "indexes and tables"] == 3.5 * 86400
    )
    assert found["sereno_disk_used_bytes", "/data"] == 8.9e10
    full = found["sereno_disk_full_timestamp_seconds", "/data"]
    assert abs(full - (NOW + timedelta(days=10)).timestamp()) < 2 * 86400
    assert found["sereno_wraparound_ratio", "main"] == 0.5
    assert ("sereno_wraparound_ratio", "second") not in found, "it is of the same server"
    assert found["sereno_paused_seconds_total", "replica lag", "analyze"] == 12
    assert found["sereno_schedule_window_used_ratio", "daily"] == pytest.approx(0.5, abs=0.01)


def test_counts_do_not_fall_when_old_runs_are_deleted(filled):
    kept = filled.context().store

    def counts():
        found = samples(filled.sereno_here("metrics").stdout)
        return {key: value for key, value in found.items() if TOTAL.search(key[0])}

    before = counts()
    assert before["sereno_task_runs_total", "finished", "analyze"] == 2
    assert before["sereno_task_duration_seconds_sum", "analyze"] == pytest.approx(3600)
    assert before["sereno_paused_seconds_total", "replica lag", "analyze"] == 12
    with kept.transaction() as transaction:
        history.purge(transaction, NOW + timedelta(days=1))
        assert history.load_runs(transaction, 9) == []
    assert counts() == before


def begin(transaction, job="vacuum"):
    return history.begin_run(transaction, Task(job, Scope.DATABASE, "main"), NOW)


def last_end(transaction, job="vacuum"):
    (row,) = [one for one in statistics.load_last_ends(transaction) if one["job"] == job]
    return row["state"], row["succeeded_at"]


def test_run_that_finishes_after_it_was_taken_for_interrupted_counts_as_finished(filled):
    with filled.context().store.transaction() as transaction:
        run = begin(transaction)
        history.mark_interrupted(transaction, run, "its process is gone", NOW)
        assert last_end(transaction) == ("interrupted", None)
        history.finish_run(transaction, run, ("finished", "", 0, None), NOW)
        assert last_end(transaction) == ("finished", to_text(NOW))
        runs = [one for one in statistics.load_ended_runs(transaction) if one["job"] == "vacuum"]
        assert sum(one["runs"] for one in runs) == 1


def test_end_of_an_older_run_does_not_hide_a_newer_one(filled):
    with filled.context().store.transaction() as transaction:
        older = begin(transaction)
        transaction.execute("UPDATE run SET worker = 'other' WHERE id = ?", (older,))
        newer = begin(transaction)
        history.finish_run(transaction, newer, ("finished", "", 0, None), NOW)
        history.mark_interrupted(transaction, older, "its process is gone", NOW)
        assert last_end(transaction) == ("finished", to_text(NOW))


def test_clock_that_was_set_back_takes_nothing_off_the_durations(filled):
    with filled.context().store.transaction() as transaction:
        run = begin(transaction)
        history.finish_run(transaction, run, ("finished", "", 0, None), NOW - timedelta(hours=2))
        (row,) = [one for one in statistics.load_ended_runs(transaction) if one["job"] == "vacuum"]
        assert (row["runs"], row["seconds"]) == (1, 0)


def test_two_runs_of_one_task_are_one_series(filled):
    with filled.context().store.transaction() as transaction:
        for _ in range(2):
            run = begin(transaction)
            transaction.execute("UPDATE run SET worker = id WHERE id = ?", (run,))
    text = filled.sereno_here("metrics").stdout
    assert text.count('sereno_task_running{database="main",task="vacuum"}') == 1


def test_run_that_did_not_finish_has_its_state(filled):
    with filled.context().store.transaction() as transaction:
        for state in ("window_ended", "skipped"):
            run = history.begin_run(transaction, Task("vacuum", Scope.DATABASE, "main"), NOW)
            history.finish_run(transaction, run, (state, "", 3, None), NOW)
    found = samples(filled.sereno_here("metrics").stdout)
    name = "sereno_task_not_finished_timestamp_seconds"
    assert found[name, "main", "window_ended", "vacuum"] == pytest.approx(NOW.timestamp())
    assert [key for key in found if key[0] == name] == [(name, "main", "window_ended", "vacuum")]
    assert found["sereno_task_runs_total", "skipped", "vacuum"] == 1
    assert found["sereno_task_duration_seconds_count", "vacuum"] == 1


def test_buckets_of_the_store_are_those_of_the_metrics():
    for name in SCHEMAS:
        view = (
            (Path(store.__file__).parent / name).read_text("utf-8").partition("VIEW ended_run")[2]
        )
        found = re.findall(r"THEN (\d+)", view.partition(";")[0])
        assert tuple(map(int, found)) == BUCKETS


def test_totals_of_an_older_file_are_those_of_its_runs(filled):
    """The schema fills its tables from the runs as the triggers would have."""
    filled.need_state_file()
    path = filled.context().store.path
    tables = ("last_end", "run_total", "pause_total", "last_measure")
    with filled.context().store.transaction() as transaction:
        run = begin(transaction)
        transaction.execute(
            "INSERT INTO step (run, ordinal, name, object, status, paused_seconds, paused_by, finished_at)"
            " VALUES (?, 1, 'vacuum', 'public.t', 'done', 12, 'replica lag', ?)",
            (run, to_text(NOW)),
        )  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        kept = [connection.execute(f"SELECT * FROM {one}").fetchall() for one in tables]
        for one in tables:
            connection.execute(f"DROP TABLE {one}")
        connection.executescript(
            "DROP TRIGGER run_ends; DROP TRIGGER run_state; DROP TRIGGER measure_taken;"
            "ALTER TABLE ignored DROP COLUMN database; DROP VIEW ended_run;"
            " DROP INDEX run_running; DROP INDEX run_schedule; DROP TABLE found_database;"
            " ALTER TABLE run DROP COLUMN worker; DROP TABLE worker;"
            " PRAGMA user_version = 9"
        )
    open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        again = [connection.execute(f"SELECT * FROM {one}").fetchall() for one in tables]
    assert again == kept
    assert all(kept)


def test_no_label_is_a_table(filled):
    filled.database.run("CREATE TABLE public.a_table_of_its_own (a int)")
    filled.run("analyze")
    filled.run("disk_check", scope=filled.scope("database"))
    assert "a_table_of_its_own" not in filled.sereno_here("metrics").stdout


def test_file_is_replaced_at_once_and_has_its_suffix(filled, tmp_path):
    out = tmp_path / "sereno.prom"
    out.write_text("old")
    assert filled.sereno_here("metrics", "--out", str(out)).returncode == 0
    assert "sereno_build_info" in out.read_text()
    assert [one.name for one in tmp_path.glob("*.prom*")] == ["sereno.prom"]
    assert out.stat().st_mode & 0o777 == 0o644
    wrong = filled.sereno_here("metrics", "--out", str(tmp_path / "x.txt"))
    assert wrong.returncode == 2
    assert ".prom" in wrong.stderr


def test_task_of_two_schedules_is_late_by_the_first_limit_after_each_was_planned(filled):
    """A daily schedule that is new does not make the success of last week late at once."""
    house = filled
    for name, cron in (("weekly", "0 3 * * 0"), ("nightly", "0 3 * * *")):
        house.extra += f'[schedules.{name}]\ncron = "{cron}"\njobs = ["vacuum"]\n'
    context, hour = house.context(), timedelta(hours=1)
    now, task = context.clock(), Task("vacuum", Scope.DATABASE, "main")
    with context.store.transaction() as transaction:
        for name, since in (("nightly", now - hour), ("weekly", now - 2000 * hour)):
            cron = str(context.config.timetable[name].cron)
            planned = replace(task, trigger=Trigger(name))
            history.remember_planned(transaction, cron, {planned: since})
        run = history.begin_run(transaction, task, now - 144 * hour)
        history.finish_run(transaction, run, ("finished", "", 0, None), now - 144 * hour)
    found = samples(house.sereno_here("metrics").stdout)
    late = found["sereno_task_late_timestamp_seconds", "main", "vacuum"]
    assert late == pytest.approx((now + 47 * hour).timestamp(), abs=3700)
