"""Metrics of coverage, disks, transaction ids, pauses and windows; the file for node_exporter."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from store.timestamps import to_text

NOW = datetime.now(UTC)


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
                " VALUES ('analyze', 'database', 'main', 'daily', '2026-01-01T02:00', ?, ?, 'finished', 1)",
                (to_text(began), to_text(began + timedelta(minutes=30))),
            )  # fmt: skip
        run = transaction.row("SELECT max(id) AS id FROM run")["id"]
        for number, seconds in ((1, 5.0), (2, 7.0)):
            transaction.execute(
                "INSERT INTO step (run, ordinal, name, object, status, seconds, paused_seconds, paused_by, finished_at)"
                " VALUES (?, ?, 'analyze', 'public.t', 'done', 9, ?, 'replica lag', ?)",
                (run, number, seconds, to_text(NOW)),
            )
        transaction.execute(
            "INSERT INTO object_memory (job, database, object, last_success, seconds, evidence) VALUES"
            " ('integrity_check', 'main', 'wraparound', ?, 1, ?)",
            (to_text(NOW), '{"levels": {"main": [[100, "x"], [1073741824, "y"]], "other": [[5, "y"]]}}'),
        )  # fmt: skip
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
    assert found["sereno_paused_seconds_total", "replica lag", "analyze"] == 12
    assert found["sereno_schedule_window_used_ratio", "daily"] == pytest.approx(0.5, abs=0.01)


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
