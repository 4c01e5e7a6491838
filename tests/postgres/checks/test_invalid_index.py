import pytest
from psycopg import errors

REMEDY = (
    'REINDEX INDEX CONCURRENTLY public."T_a_key"; (or DROP INDEX CONCURRENTLY public."T_a_key";)'
)


def test_failed_concurrent_build_is_found_until_index_is_dropped(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run('CREATE TABLE public."T" (a int)')
    assert any_house.run("integrity_check")["findings"] == []
    run('INSERT INTO public."T" VALUES (1), (1)')
    with pytest.raises(errors.UniqueViolation):
        run('CREATE UNIQUE INDEX CONCURRENTLY "T_a_key" ON public."T" (a)')
    finding = any_house.finding("integrity_check", "invalid_index")
    assert (finding["object"], finding["severity"], finding["remedy"]) == (
        'public."T_a_key"',
        "warning",
        REMEDY,
    )
    run('DROP INDEX public."T_a_key"')
    assert any_house.run("integrity_check")["findings"] == []


def invalid(house):
    found = house.run("integrity_check")["findings"]
    return {one["object"] for one in found if one["kind"] == "invalid_index"}


PARTITIONED = """
    CREATE TABLE public.ev (id int, d date) PARTITION BY RANGE (d);
    CREATE TABLE public.ev_23 PARTITION OF public.ev FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
    CREATE TABLE public.ev_24 PARTITION OF public.ev FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE UNIQUE INDEX ev_23_u ON public.ev_23 (d, id);
    CREATE UNIQUE INDEX ev_u ON ONLY public.ev (d, id);
    ALTER INDEX public.ev_u ATTACH PARTITION public.ev_23_u
"""


def test_index_of_partitioned_table_names_the_partition_without_it(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run(PARTITIONED)
    finding = any_house.finding("integrity_check", "invalid_index")
    assert (finding["object"], finding["severity"]) == ("public.ev_u", "warning")
    assert finding["summary"].endswith("no valid index of it on public.ev_24")
    assert "ALTER INDEX public.ev_u ATTACH PARTITION" in finding["remedy"]
    run("CREATE UNIQUE INDEX ev_24_u ON public.ev_24 (d, id)")
    run("ALTER INDEX public.ev_u ATTACH PARTITION public.ev_24_u")
    assert invalid(any_house) == set()


def test_index_of_partitioned_table_that_stays_invalid_is_cured_by_attaching_again(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run(PARTITIONED + "; INSERT INTO public.ev VALUES (1, '2024-02-01'), (1, '2024-02-01')")
    with pytest.raises(errors.UniqueViolation):
        run("CREATE UNIQUE INDEX CONCURRENTLY ev_24_u ON public.ev_24 (d, id)")
    run("ALTER INDEX public.ev_u ATTACH PARTITION public.ev_24_u")
    assert invalid(any_house) == {"public.ev_u", "public.ev_24_u"}
    run("DELETE FROM public.ev_24 WHERE ctid = '(0,1)'")
    run("REINDEX INDEX CONCURRENTLY public.ev_24_u")
    finding = any_house.finding("integrity_check", "invalid_index")
    assert "although that of each partition is valid" in finding["summary"]
    run(finding["remedy"].partition(";")[0])
    assert invalid(any_house) == set()
