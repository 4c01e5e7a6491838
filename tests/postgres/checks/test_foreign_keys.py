import json
import re

import pytest

from checks import foreign_keys
from jobs import large_keys


def test_rows_inserted_without_triggers_are_found(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run('CREATE TABLE public."P" (a int, b text, PRIMARY KEY (a, b))')
    run(
        'CREATE TABLE public."C" (x int, y text, FOREIGN KEY (x, y) REFERENCES public."P") PARTITION BY LIST (x)'
    )
    run('CREATE TABLE public."C1" PARTITION OF public."C" DEFAULT')
    run(
        "INSERT INTO public.\"P\" VALUES (1, 'a'); INSERT INTO public.\"C\" VALUES (1, 'a'), (1, NULL)"
    )
    assert any_house.run("integrity_check")["findings"] == []
    run(
        "SET session_replication_role = replica; INSERT INTO public.\"C\" VALUES (2, 'b'); RESET session_replication_role"
    )
    finding = any_house.finding("integrity_check", "foreign_keys")
    assert (finding["object"], finding["severity"], finding["value"]) == (
        'public."C"."C_x_y_fkey"',
        "high",
        1,
    )


def test_key_of_user_defined_type_is_not_read(any_house):
    """Its cast to text would run with our privileges."""
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TYPE public.comp AS (a int)")
    run(
        "CREATE FUNCTION public.f(public.comp) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'was run'; END $$"
    )
    run("CREATE CAST (public.comp AS text) WITH FUNCTION public.f")
    run(
        "CREATE TABLE public.p (a public.comp PRIMARY KEY); CREATE TABLE public.c (a public.comp REFERENCES public.p)"
    )
    run(
        "SET session_replication_role = replica; INSERT INTO public.c VALUES (ROW(1)); RESET session_replication_role"
    )
    finding = any_house.finding("integrity_check", "foreign_keys")
    assert (finding["severity"], "a user-defined type" in finding["summary"]) == ("info", True)


def test_key_is_compared_with_its_own_operator(any_house):
    """The operator of citext is in another schema, outside the search path."""
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext")
    run(
        "CREATE TABLE public.p (a ext.citext PRIMARY KEY); CREATE TABLE public.c (a ext.citext REFERENCES public.p)"
    )
    run("INSERT INTO public.p VALUES ('Uno'); INSERT INTO public.c VALUES ('uno')")
    assert any_house.run("integrity_check")["findings"] == []


def test_rows_with_some_columns_null_break_match_full(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int, b int, UNIQUE (a, b)); INSERT INTO public.p VALUES (5, 5)")
    run(
        "CREATE TABLE public.c (a int, b int, CONSTRAINT k FOREIGN KEY (a, b)"
        " REFERENCES public.p (a, b) MATCH FULL)"
    )
    run("INSERT INTO public.c VALUES (5, 5), (NULL, NULL)")
    assert any_house.run("integrity_check")["findings"] == []
    run(
        "SET session_replication_role = replica;"
        " INSERT INTO public.c VALUES (5, NULL), (NULL, 6), (7, 7); RESET session_replication_role"
    )
    finding = any_house.finding("integrity_check", "foreign_keys")
    assert (finding["object"], finding["value"]) == ("public.c.k", 3)


def test_period_that_the_parents_cover_only_in_part_is_found(any_house):
    if any_house.database.admin.info.server_version < 180000:
        pytest.skip("PERIOD is from PostgreSQL 18 on")
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE EXTENSION btree_gist")
    run(
        "CREATE TABLE public.p (id int, d daterange, PRIMARY KEY (id, d WITHOUT OVERLAPS));"
        "CREATE TABLE public.c (id int, d daterange, CONSTRAINT k FOREIGN KEY (id, PERIOD d)"
        " REFERENCES public.p (id, PERIOD d))"
    )
    run(
        "INSERT INTO public.p VALUES (1, '[2024-01-01,2024-03-01)'), (1, '[2024-03-01,2024-06-01)');"
        "INSERT INTO public.c VALUES (1, '[2024-02-01,2024-05-01)'), (1, NULL)"
    )
    assert any_house.run("integrity_check")["findings"] == []
    run(
        "SET session_replication_role = replica;"
        "INSERT INTO public.c VALUES (1, '[2024-03-01,2026-01-01)'), (2, '[2024-02-01,2024-03-01)');"
        "RESET session_replication_role"
    )
    finding = any_house.finding("integrity_check", "foreign_keys")
    assert (finding["object"], finding["value"]) == ("public.c.k", 2)


def test_rows_of_inheriting_tables_do_not_count(any_house):
    """A foreign key binds neither the rows of a child table nor refers to them."""
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int PRIMARY KEY); CREATE TABLE public.p2 () INHERITS (public.p)")
    run("CREATE TABLE public.c (a int REFERENCES public.p)")
    run("CREATE TABLE public.c2 () INHERITS (public.c); INSERT INTO public.c2 VALUES (7)")
    assert any_house.run("integrity_check")["findings"] == []
    run("INSERT INTO public.p2 VALUES (8); SET session_replication_role = replica")
    run("INSERT INTO public.c VALUES (8); RESET session_replication_role")
    assert any_house.finding("integrity_check", "foreign_keys")["value"] == 1


def test_large_key_is_a_step_of_its_own_with_an_alert_of_its_own(any_house, monkeypatch):
    """The look at the other keys resolves no alert about it; one that is dropped ends."""
    monkeypatch.setattr(foreign_keys, "LARGE_PAGES", 10)
    run = any_house.database.run
    run(
        "CREATE TABLE public.p (id int PRIMARY KEY); INSERT INTO public.p SELECT generate_series(1, 9)"
    )
    for name, rows in (("big", 9000), ("small", 9), ("other", 9000)):
        run(f"CREATE TABLE public.{name} (p int CONSTRAINT k REFERENCES public.p)")
        run(f"INSERT INTO public.{name} SELECT n % 9 + 1 FROM generate_series(1, {rows}) n")
    run("SET session_replication_role = 'replica'")
    run("INSERT INTO public.big VALUES (77); INSERT INTO public.small VALUES (78)")
    run("RESET session_replication_role; ANALYZE")
    any_house.install()
    keys = {"public.big.k", "public.other.k"}
    planned = [step.object for step in any_house.plan("integrity_check")]
    assert [name for name in planned if name in keys] == sorted(keys)
    first = any_house.run("integrity_check")
    assert keys <= {step["object"] for step in first["steps"]}
    found = [
        (one["object"], one["value"]) for one in first["findings"] if one["kind"] == "foreign_keys"
    ]
    assert sorted(found) == [("public.big.k", 1.0), ("public.small.k", 1.0)]
    assert open_keys(any_house) == ["public.big.k", "public.small.k"]
    run("DELETE FROM public.small WHERE p = 78")
    any_house.run("integrity_check")
    assert open_keys(any_house) == ["public.big.k"]
    run("ALTER TABLE public.big DROP CONSTRAINT k")
    any_house.run("integrity_check")
    assert open_keys(any_house) == []
    assert any_house.sereno("check", "foreign_keys").returncode == 0


def test_key_that_takes_too_long_is_verified_in_parts(any_house, monkeypatch):
    """A table in ranges of blocks, a partitioned one by partitions; each part has its own look."""
    monkeypatch.setattr(foreign_keys, "LARGE_PAGES", 10)
    monkeypatch.setattr(large_keys, "LONG_SECONDS", 0.0003)
    monkeypatch.setattr(large_keys, "RANGE_SECONDS", 0.0003)
    monkeypatch.setattr(large_keys, "LEAST_RANGE", 8)
    house, run = any_house, any_house.database.run
    house.with_logins = False
    run("CREATE TABLE public.p (id int PRIMARY KEY); INSERT INTO public.p VALUES (1)")
    run("CREATE TABLE public.c (p int CONSTRAINT k REFERENCES public.p)")
    run("CREATE TABLE public.part (p int CONSTRAINT k REFERENCES public.p) PARTITION BY LIST (p)")
    run('CREATE TABLE public."Part 1" PARTITION OF public.part FOR VALUES IN (1)')
    run("CREATE TABLE public.rest PARTITION OF public.part DEFAULT")
    run("SET session_replication_role = 'replica'")
    run("INSERT INTO public.c SELECT 1 FROM generate_series(1, 4500)")
    run("UPDATE public.c SET p = 7 WHERE ctid = '(17,3)'")  # the new row is on the last page
    run(
        "INSERT INTO public.part SELECT 1 FROM generate_series(1, 4500); INSERT INTO public.part VALUES (8)"
    )
    run("RESET session_replication_role; ANALYZE")
    ran = house.run("integrity_check")
    looked = {one["object"] for one in ran["steps"] if one["name"] == "check"}
    size = 4 if "public.c.k blocks 0 to 3" in looked else 8
    assert {f"public.c.k blocks 0 to {size - 1}", "public.part.k in public.rest"} <= looked
    assert any(name.startswith('public.part.k in public."Part 1" blocks 0') for name in looked)
    assert "public.c.k" not in looked
    found = [one for one in ran["findings"] if one["kind"] == "foreign_keys"]
    assert sorted(one["value"] for one in found) == [1.0, 1.0]
    names = sorted(one["object"] for one in found)
    assert names[0].startswith("public.c.k blocks ")
    assert names[1] == "public.part.k in public.rest"
    assert open_keys(house) == names
    with monkeypatch.context() as whole:  # large, and not divided any more
        whole.setattr(large_keys, "LONG_SECONDS", 600.0)
        house.run("integrity_check")
        assert open_keys(house) == sorted(["public.c.k", "public.part.k", *names])
        house.run("integrity_check")
        assert open_keys(house) == ["public.c.k", "public.part.k"]
    house.run("integrity_check")  # divided again: nothing is resolved before it was looked at
    assert open_keys(house) == sorted(["public.c.k", "public.part.k", *names])
    house.run("integrity_check")
    assert open_keys(house) == names
    monkeypatch.undo()  # the whole keys are looked at again, with the others
    house.run("integrity_check")
    assert {"public.c.k", "public.part.k"} <= set(open_keys(house))  # the parts are flapping
    house.sereno("now", "health_report")
    (page,) = (house.folder / "reports").glob("*.html")
    assert re.search(r"\d+ of \d+ foreign keys", page.read_text())


def open_keys(house):
    listed = json.loads(house.sereno("alerts", "list", "--json").stdout)
    return sorted(one["object"] for one in listed if one["kind"] == "foreign_keys")


def test_locks_of_many_keys_do_not_fill_the_lock_table(
    clusters, make_database, make_house, tmp_path
):
    """They would not fit, and other sessions would fail too."""
    cluster = clusters("embedded", max_locks_per_transaction="10", max_connections="20")
    with make_database(cluster) as database:
        for number in range(800):
            database.run(f"CREATE TABLE public.t{number} (id int PRIMARY KEY)")
            database.run(f"ALTER TABLE public.t{number} ADD p int REFERENCES public.t{number // 2}")
        house = make_house(tmp_path, database)
        house.with_logins = False
        assert {step["status"] for step in house.run("integrity_check")["steps"]} == {"done"}
