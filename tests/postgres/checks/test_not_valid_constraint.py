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


def only_from(any_house, version):
    if any_house.database.admin.info.server_version < version * 10000:
        pytest.skip(f"from PostgreSQL {version} on")
    any_house.with_logins = False
    return any_house.database.run


def test_not_enforced_constraints_are_no_finding(any_house):
    run = only_from(any_house, 18)
    run("CREATE TABLE public.p (id int PRIMARY KEY)")
    run(
        "CREATE TABLE public.c (id int CHECK (id > 0) NOT ENFORCED,"
        " p int REFERENCES public.p NOT ENFORCED); INSERT INTO public.c VALUES (-1, 99)"
    )
    assert any_house.run("integrity_check")["findings"] == []


def test_not_null_that_is_not_valid_is_found_with_its_rows(any_house):
    run = only_from(any_house, 18)
    run('CREATE TABLE public.t ("A" int); INSERT INTO public.t VALUES (NULL), (1)')
    run('ALTER TABLE public.t ADD CONSTRAINT a_nn NOT NULL "A" NOT VALID')
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["object"], finding["severity"], finding["value"]) == (
        "public.t.a_nn",
        "high",
        1,
    )
    run('UPDATE public.t SET "A" = 0 WHERE "A" IS NULL')
    run(finding["remedy"].partition("then ")[2])
    assert any_house.run("integrity_check")["findings"] == []


def test_constraint_of_a_domain_is_found(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE DOMAIN public.plus AS int; CREATE TABLE public.t (a public.plus)")
    run("ALTER DOMAIN public.plus ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["object"], finding["severity"]) == ("public.plus.c", "warning")
    run(finding["remedy"].partition("then ")[2])
    assert any_house.run("integrity_check")["findings"] == []


def test_constraint_of_a_partitioned_table_is_found_once(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int) PARTITION BY LIST (a)")
    run("CREATE TABLE public.t1 PARTITION OF public.t DEFAULT; INSERT INTO public.t VALUES (-1)")
    run("ALTER TABLE public.t ADD CONSTRAINT c CHECK (a > 0) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["object"], finding["value"]) == ("public.t.c", 1)


def test_constraint_that_is_not_inherited_counts_no_rows_of_children(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); CREATE TABLE public.t2 () INHERITS (public.t)")
    run("INSERT INTO public.t2 VALUES (-1)")
    run("ALTER TABLE public.t ADD CONSTRAINT c CHECK (a > 0) NO INHERIT NOT VALID")
    assert any_house.finding("integrity_check", "not_valid_constraint")["value"] == 0
