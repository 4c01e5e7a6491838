"""Checks with very many rows or very long values: bounded on the server, and said."""

import json

import pytest

from jobs import integrity_check


@pytest.fixture
def custom(house):
    """Return a function that writes an operator's check of the given query and runs it."""
    house.with_logins = False
    (house.folder / "checks.d").mkdir()

    def run(query, header=""):
        text = f'-- title = "custom"\n{header}{query}\n'
        (house.folder / "checks.d" / "custom.sql").write_text(text)
        return [one for one in house.run("integrity_check")["findings"] if one["kind"] == "custom"]

    return run


def test_the_worst_rows_become_findings_and_one_counts_the_rest(custom, house):
    found = custom(
        "SELECT 'row ' || n AS object, n AS value, 'summary' AS summary,"
        " CASE WHEN n % 1000 = 0 THEN 'critical' ELSE 'warning' END AS severity"
        " FROM generate_series(1, 50000) n"
    )
    assert len(found) == 101
    assert [one["severity"] for one in found[:51]] == ["critical"] * 50 + ["warning"]
    assert found[0]["object"] == "row 50000"
    rest = next(one for one in found if one["object"] == "(more)")
    assert (rest["severity"], rest["summary"][:6]) == ("info", "49900 ")


def test_texts_of_the_header_do_not_concern_the_row_that_counts_the_rest(custom):
    """Every check of the catalogue with more than 100 findings failed."""
    found = custom(
        "SELECT 'row ' || n AS object, n AS value, 'high' AS severity FROM generate_series(1, 150) n",
        '-- summary = "number {value}"\n',
    )
    assert len(found) == 101


def test_incomplete_result_resolves_no_alert(custom, house):
    query = "SELECT 'row ' || n AS object, n AS value, 's' AS summary, 'high' AS severity FROM generate_series({}, {}) n"
    custom(query.format(1, 3))
    house.extra = "[checks.custom]\nmost_findings = 2\n"
    custom(query.format(2, 9))
    opened = json.loads(house.sereno("alerts", "list", "--json").stdout)
    assert "row 1" in {one["object"] for one in opened if one["kind"] == "custom"}
    house.extra = ""
    custom(query.format(2, 9))
    opened = json.loads(house.sereno("alerts", "list", "--json").stdout)
    names = {one["object"] for one in opened if one["kind"] == "custom"}
    assert names == {f"row {n}" for n in range(2, 10)}


def test_rows_below_the_threshold_are_not_counted_as_left_out(custom):
    found = custom(
        "SELECT 'row ' || n AS object, n AS value, 's' AS summary FROM generate_series(1, 500) n",
        '-- option.warning = { default = 498, help = "x" }\n',
    )
    assert [one["object"] for one in found] == ["row 500", "row 499", "row 498"]


@pytest.mark.parametrize("column", ["object", "summary", "evidence"])
def test_long_values_are_cut_on_the_server(custom, column):
    columns = {"object": "'o'", "summary": "'s'", "evidence": "'e'"}
    columns[column] = "repeat('x', 5000000) || n"
    listed = ", ".join(f"{text} AS {name}" for name, text in columns.items())
    found = custom(f"SELECT {listed}, 1 AS value, 'high' AS severity FROM generate_series(1, 2) n")
    assert found
    assert max(len(json.dumps(one)) for one in found) < 8000
    if column == "object":
        assert len({one["object"] for one in found}) == 2  # told apart by their digests


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO STDOUT",
        "SELECT pg_terminate_backend(pg_backend_pid())::text AS object, 's' AS summary",
        "SELECT public.other_server_fails() AS object",
        "SELECT 1 / 0 AS object",
        "LISTEN x",
        "SELEC 1",
        "SELECT 1 AS object; DROP TABLE public.t",
        "WITH written AS (INSERT INTO public.t VALUES (1) RETURNING a) SELECT a::text AS object FROM written",
        "SELECT setval('public.s', 9)::text AS object, 'x' AS summary",
        "SELECT n::text AS object, 's' AS summary FROM generate_series(1, 9 * 10 ^ 17::numeric) n",
    ],
)
def test_failing_check_ends_no_other_check(custom, house, query, monkeypatch):
    monkeypatch.setattr(integrity_check, "LIMIT_SECONDS", 3.0)
    house.database.run("CREATE TABLE public.t (a int); CREATE SEQUENCE public.s")
    house.database.run(
        "CREATE FUNCTION public.other_server_fails() RETURNS text LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'could not connect to server' USING ERRCODE = '08001'; END $$"
    )
    custom(query)
    steps = {step["object"]: step["status"] for step in house.run("integrity_check")["steps"]}
    assert steps.pop("custom") == "failed"
    assert set(steps.values()) == {"done"}
    assert house.database.value("SELECT count(*) FROM public.t") == 0
    assert house.database.value("SELECT last_value FROM public.s") == 1
