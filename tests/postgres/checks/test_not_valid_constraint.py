import pytest


@pytest.mark.parametrize(
    ("constraint", "broken", "severity"),
    [
        ("CHECK (a > 0)", True, "high"),
        ("CHECK (a > 0)", False, "warning"),
        ("FOREIGN KEY (a) REFERENCES public.p", True, "high"),
    ],
)
def test_a_promise_for_new_rows_only_is_found_and_the_old_rows_are_counted(
    any_house, constraint, broken, severity
):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int PRIMARY KEY); CREATE TABLE public.t (a int)")
    run("INSERT INTO public.t VALUES (NULL)")
    if broken:
        run("INSERT INTO public.t VALUES (-1), (-2)")
    run(f'ALTER TABLE public.t ADD CONSTRAINT "Promise" {constraint} NOT VALID')
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["object"], finding["severity"]) == ('public.t."Promise"', severity)
    assert ("broken by 2 rows" in finding["summary"]) is broken
    assert finding["remedy"].endswith('ALTER TABLE public.t VALIDATE CONSTRAINT "Promise";')


@pytest.mark.parametrize(
    "expression",
    [
        "query_to_xml('SELECT public.f(1)', true, false, '') IS NOT NULL",
        "(a::public.dom) IS NOT NULL",
        "public.f(a)",
    ],
)
def test_whatever_hides_a_function_of_the_users_is_not_evaluated(any_house, expression):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    run(
        "CREATE FUNCTION public.f(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'was run'; END $$"
    )
    run("CREATE DOMAIN public.dom AS int CHECK (public.f(VALUE))")
    run(f"ALTER TABLE public.t ADD CONSTRAINT c CHECK ({expression}) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert "could not be counted" in finding["summary"]


@pytest.mark.parametrize(
    "expression",
    [
        "a IN (1, 2) AND b LIKE 'x%'",
        "length(b) > 3 OR a IS NULL",
        "b = ANY (ARRAY['x', 'y'])",
        "a::numeric > 0.5",
    ],
)
def test_the_servers_own_functions_are_evaluated(any_house, expression):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int, b text); INSERT INTO public.t VALUES (-7, 'zz')")
    run(f"ALTER TABLE public.t ADD CONSTRAINT c CHECK ({expression}) NOT VALID")
    assert (
        "broken by 1 row" in any_house.finding("integrity_check", "not_valid_constraint")["summary"]
    )


def test_a_function_of_the_users_is_not_run_with_our_rights(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    run(
        "CREATE FUNCTION public.f(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'was run'; END $$"
    )
    run("ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.f(a)) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["severity"], "could not be counted" in finding["summary"]) == ("warning", True)
