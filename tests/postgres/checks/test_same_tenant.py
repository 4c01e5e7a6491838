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
