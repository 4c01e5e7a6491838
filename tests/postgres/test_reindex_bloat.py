"""Reindex steps of job vacuum: bloated indexes."""

import pytest

from jobs.steps import rebuild_index

BLOATED = "[jobs.vacuum.reindex]\nbloated = true\nwasted = '1 MB'\n"


def create_bloated_index(database, flush):
    database.run("CREATE TABLE public.big (a int, b text)")
    database.run("INSERT INTO public.big SELECT n, md5(n::text) FROM generate_series(1, 100000) n")
    flush()
    database.run("CREATE INDEX big_b ON public.big (b); ANALYZE public.big")


def index_size(database):
    return database.value("SELECT pg_relation_size('public.big_b') AS n")


@pytest.mark.parametrize("extension", [True, False])
def test_bloated_index_is_rebuilt_when_enabled(any_house, run_reindex, flush, extension):
    database = any_house.database
    create_bloated_index(database, flush)
    if extension:
        database.run('CREATE SCHEMA "Ext 1"; CREATE EXTENSION pgstattuple SCHEMA "Ext 1"')
    database.run("DELETE FROM public.big WHERE a % 10 < 8")
    flush()
    before = index_size(database)
    assert run_reindex() == {}  # disabled by default
    any_house.extra = BLOATED
    assert run_reindex() == {("reindex", "public.big_b"): ("done", "")}
    assert index_size(database) < before / 3
    assert run_reindex() == {}


def test_index_measured_as_not_bloated_is_not_rebuilt_or_measured_again(
    any_house, run_reindex, flush
):
    """The estimate uses an outdated reltuples; pgstattuple measures the index."""
    database = any_house.database
    create_bloated_index(database, flush)
    database.run("CREATE EXTENSION pgstattuple")
    database.run(
        "SET allow_system_table_mods = on; UPDATE pg_class SET reltuples = 1000 WHERE relname = 'big_b'"
    )
    flush()
    any_house.extra = BLOATED
    before = database.value("SELECT 'public.big_b'::regclass::oid AS n")
    ((status, reason),) = run_reindex().values()
    assert status == "done"
    assert reason.startswith("not bloated: ")
    assert reason.endswith("of it wasted, measured")
    assert database.value("SELECT 'public.big_b'::regclass::oid AS n") == before
    assert run_reindex() == {}


def test_bloated_index_is_skipped_without_disk_space(any_house, run_reindex, flush, monkeypatch):
    database = any_house.database
    create_bloated_index(database, flush)
    database.run("DELETE FROM public.big WHERE a % 10 < 8")
    flush()
    any_house.extra = BLOATED
    monkeypatch.setattr(rebuild_index, "ROOM", 1e12)
    ((status, reason),) = run_reindex().values()
    assert status == "skipped"
    assert reason.startswith("no room: ")
