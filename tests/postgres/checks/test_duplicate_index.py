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


def found(any_house, *statements):
    any_house.with_logins = False
    any_house.extra = "[checks.duplicate_index]\nbytes = 1\n"
    for statement in statements:
        any_house.database.run(statement)
    return {row["object"]: row["remedy"] for row in any_house.run("integrity_check")["findings"]}


TABLE = "CREATE TABLE public.t (a int, b text); INSERT INTO public.t VALUES (1, 'x')"


def test_stricter_unique_index_is_kept(any_house):
    if any_house.database.admin.info.server_version < 150000:
        pytest.skip("NULLS NOT DISTINCT is from 15 on")
    loose, strict = "CREATE UNIQUE INDEX loose ON public.t (a, b)", "NULLS NOT DISTINCT"
    remedies = found(any_house, TABLE, loose, loose.replace("loose", "strict") + f" {strict}")
    assert list(remedies) == ["public.loose"]
    assert "public.strict serves" in remedies["public.loose"]
    run = any_house.database.run
    run(remedies["public.loose"].partition("(")[0])
    run("ALTER TABLE public.t ADD CONSTRAINT loose UNIQUE (a, b)")  # needed, and covers less
    assert any_house.run("integrity_check")["findings"] == []


def test_index_that_a_foreign_key_stands_on_is_kept(any_house):
    remedies = found(
        any_house,
        TABLE,
        "CREATE UNIQUE INDEX stood_on ON public.t (a)",
        "CREATE TABLE public.c (a int REFERENCES public.t (a))",
        "ALTER TABLE public.t ALTER a SET NOT NULL, ADD PRIMARY KEY (a)",
    )
    assert remedies == {}


def test_deferrable_constraint_does_not_replace_an_immediate_unique_index(any_house):
    remedies = found(
        any_house,
        TABLE,
        "CREATE UNIQUE INDEX at_once ON public.t (a)",
        "ALTER TABLE public.t ADD CONSTRAINT late UNIQUE (a) DEFERRABLE",
    )
    assert remedies == {}


def test_parameters_of_an_operator_class_are_compared(any_house):
    remedies = found(
        any_house,
        "CREATE EXTENSION pg_trgm",
        TABLE,
        "CREATE INDEX short ON public.t USING gist (b gist_trgm_ops (siglen = 32))",
        "CREATE INDEX long ON public.t USING gist (b gist_trgm_ops (siglen = 256))",
    )
    assert remedies == {}


def test_of_three_equal_indexes_the_oldest_is_kept(any_house):
    made = [f"CREATE INDEX i{number} ON public.t (a)" for number in (1, 2, 3)]
    remedies = found(any_house, TABLE, *made)
    assert sorted(remedies) == ["public.i2", "public.i3"]
    assert all("public.i1 serves" in remedy for remedy in remedies.values())
