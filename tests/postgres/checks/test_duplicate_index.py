import pytest


@pytest.mark.parametrize(
    ("first", "second", "duplicate"),
    [
        ("INDEX one ON public.t (a, b)", "INDEX two ON public.t (a, b)", True),
        (
            "INDEX one ON public.t (lower(c)) WHERE a > 0",
            "INDEX two ON public.t (lower(c)) WHERE a > 0",
            True,
        ),
        ("UNIQUE INDEX two ON public.t (a)", "INDEX one ON public.t (a)", False),
        ("INDEX one ON public.t (a, b)", "INDEX two ON public.t (b, a)", False),
        ("INDEX one ON public.t (a)", "INDEX two ON public.t (a DESC)", False),
        ("INDEX one ON public.t (c)", "INDEX two ON public.t (c text_pattern_ops)", False),
        ("INDEX one ON public.t (a)", "INDEX two ON public.t (a) WHERE b > 0", False),
        ("INDEX one ON public.t (a)", "INDEX two ON public.t (a) INCLUDE (b)", False),
        ("INDEX one ON public.t USING btree (a)", "INDEX two ON public.t USING hash (a)", False),
    ],
)
def test_index_with_same_definition_is_duplicate(any_house, first, second, duplicate):
    any_house.with_logins = False
    any_house.extra = "[checks.duplicate_index]\nbytes = 1\n"
    run = any_house.database.run
    run("CREATE TABLE public.t (a int, b int, c text); INSERT INTO public.t VALUES (1, 1, 'x')")
    run(f"CREATE {first}; CREATE {second}")
    objects = [row["object"] for row in any_house.run("integrity_check")["findings"]]
    assert objects == (
        ["public.two"] if duplicate else ["public.one"] if first.startswith("UNIQUE") else []
    )


def test_duplicate_of_constraint_index_is_found(any_house):
    any_house.with_logins = False
    any_house.extra = "[checks.duplicate_index]\nbytes = 1\n"
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); CREATE UNIQUE INDEX older ON public.t (a)")
    run("ALTER TABLE public.t ADD PRIMARY KEY (a); INSERT INTO public.t VALUES (1)")
    finding = any_house.finding("integrity_check", "duplicate_index")
    assert (finding["object"], finding["severity"]) == ("public.older", "warning")
    assert finding["remedy"].startswith("DROP INDEX CONCURRENTLY public.older; (public.t_pkey")
