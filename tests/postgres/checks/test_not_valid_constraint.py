import pytest


@pytest.mark.parametrize(
    ("constraint", "broken", "severity"),
    [
        ("CHECK (a > 0)", True, "high"),
        ("CHECK (a > 0)", False, "warning"),
        ("FOREIGN KEY (a) REFERENCES public.p", True, "high"),
    ],
)
def test_a_promise_for_new_rows_only_is_found_and_the_old_rows_are_counted(any_house, constraint, broken, severity):
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


def test_a_function_of_the_users_is_not_run_with_our_rights(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    run("CREATE FUNCTION public.f(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'was run'; END $$")
    run("ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.f(a)) NOT VALID")
    finding = any_house.finding("integrity_check", "not_valid_constraint")
    assert (finding["severity"], "could not be counted" in finding["summary"]) == ("warning", True)
