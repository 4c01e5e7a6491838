PAIR = """
[[checks.same_tenant]]
child = 'public."Usuario"("persona_id", "cooperativa_id")'
parent = 'public."Persona"("id", "cooperativa_id")'
"""


def test_reference_to_row_of_another_tenant_is_critical(any_house):
    any_house.with_logins, any_house.extra = False, PAIR
    run = any_house.database.run
    run('CREATE TABLE public."Persona" (id int, cooperativa_id int)')
    run('CREATE TABLE public."Usuario" (id int, persona_id int, cooperativa_id int)')
    run('INSERT INTO public."Persona" VALUES (1, 10), (2, 20), (3, NULL)')
    run(
        'INSERT INTO public."Usuario" VALUES (1, 1, 10), (2, NULL, 10), (3, 99, 10), (4, 2, NULL), (5, 3, 10)'
    )
    assert any_house.run("integrity_check")["findings"] == []
    run('INSERT INTO public."Usuario" VALUES (6, 2, 10)')
    finding = any_house.finding("integrity_check", "same_tenant")
    assert (finding["severity"], finding["value"]) == ("critical", 1)
    assert "2, 10" in finding["evidence"]


def test_tenant_column_makes_a_pair_of_each_foreign_key(any_house):
    any_house.with_logins = False
    any_house.database_lines = 'tenant = "Coop id"\n'
    run = any_house.database.run
    run('CREATE TABLE public.p (id int PRIMARY KEY, "Coop id" int, UNIQUE (id, "Coop id"))')
    run('CREATE TABLE public.c (p_id int REFERENCES public.p, "Coop id" int)')
    run('CREATE TABLE public.safe (p_id int, "Coop id" int, FOREIGN KEY (p_id, "Coop id") REFERENCES public.p (id, "Coop id"))')  # fmt: skip
    run("CREATE TABLE public.other (p_id int REFERENCES public.p)")
    run("INSERT INTO public.p VALUES (1, 10), (2, 20); INSERT INTO public.c VALUES (1, 10)")
    planned = [step for step in any_house.plan("integrity_check") if step.object == "same_tenant"]
    assert planned[0].statement().count("WITH bad") == 1
    found = any_house.run("integrity_check")["findings"]
    assert "same_tenant" not in {one["kind"] for one in found}
    run("INSERT INTO public.c VALUES (2, 10)")
    finding = any_house.finding("integrity_check", "same_tenant")
    assert (finding["severity"], finding["object"]) == (
        "critical",
        'public.c(p_id, "Coop id") -> public.p(id, "Coop id")',
    )
    done = any_house.sereno("check", "same_tenant", check=False)
    assert "1 row of public.c" in done.stdout


def test_tenant_column_that_no_key_needs_checks_nothing(house):
    house.with_logins = False
    house.database_lines = 'tenant = "coop_id"\n'
    steps = house.run("integrity_check")["steps"]
    assert "same_tenant" not in {step["object"] for step in steps}
