import pytest


@pytest.mark.parametrize(
    ("constraint", "violated", "severity"),
    [
        ("CHECK (a > 0)", True, "high"),
        ("CHECK (a > 0)", False, "warning"),
        ("FOREIGN KEY (a) REFERENCES public.p", True, "high"),
    ],
)
def test_not_valid_constraint_is_found_with_number_of_violations(
    any_house, constraint, violated, severity
):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int PRIMARY KEY); CREATE TABLE public.t (a int)")
    run("INSERT INTO public.t VALUES (NULL)")
    if violated:
        run("INSERT INTO public.t VALUES (-1), (-2)")
    run(f'ALTER TABLE public.t ADD CONSTRAINT "Promise" {constraint} NOT VALID')
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["object"], finding["severity"]) == ('public.t."Promise"', severity)
    assert ("broken by 2 rows" in finding["summary"]) is violated
    assert finding["remedy"].endswith('ALTER TABLE public.t VALIDATE CONSTRAINT "Promise";')


@pytest.mark.parametrize(
    "expression",
    [
        "query_to_xml('SELECT public.f(1)', true, false, '') IS NOT NULL",
        "(a::public.dom) IS NOT NULL",
        "public.f(a)",
    ],
)
def test_expression_that_calls_user_function_is_not_evaluated(any_house, expression):
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
def test_expression_with_builtin_functions_is_evaluated(any_house, expression):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int, b text); INSERT INTO public.t VALUES (-7, 'zz')")
    run(f"ALTER TABLE public.t ADD CONSTRAINT c CHECK ({expression}) NOT VALID")
    assert (
        "broken by 1 row" in any_house.finding("integrity_check", "not_valid_constraint")["summary"]
    )


def test_volatile_user_function_is_not_run(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    run(
        "CREATE FUNCTION public.f(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'was run'; END $$"
    )
    run("ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.f(a)) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["severity"], "could not be counted" in finding["summary"]) == ("warning", True)
