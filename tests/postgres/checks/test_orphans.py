PAIR = """
[[checks.orphans]]
child = 'public."Pago"("factura_id", "tipo")'
parent = 'public."Factura"("id", "tipo")'
"""


def test_rows_without_parent_are_counted_and_null_keys_are_ignored(any_house):
    any_house.with_logins, any_house.extra = False, PAIR
    run = any_house.database.run
    run('CREATE TABLE public."Factura" (id int, tipo text)')
    run('CREATE TABLE public."Pago" (factura_id int, tipo text)')
    run("INSERT INTO public.\"Factura\" VALUES (1, 'a'), (2, 'b')")
    run("INSERT INTO public.\"Pago\" VALUES (1, 'a'), (2, 'b'), (NULL, 'a'), (7, NULL)")
    assert any_house.run("integrity_check")["findings"] == []
    run("INSERT INTO public.\"Pago\" VALUES (1, 'b'), (9, 'a'), (9, 'a')")
    finding = any_house.finding("integrity_check", "orphans")
    assert (finding["severity"], finding["value"]) == ("high", 3)
    assert finding["summary"].startswith(
        '3 rows of public."Pago"(factura_id, tipo) without their row'
    )
    assert "1, b" in finding["evidence"]


def test_check_without_configured_pair_is_not_run(house):
    house.with_logins = False
    assert "orphans" not in {step["object"] for step in house.run("integrity_check")["steps"]}
    done = house.sereno("check", "orphans", check=False)
    assert (
        done.returncode,
        "no pair is declared for orphans; add [[checks.orphans]]" in done.stderr,
    ) == (2, True)


def test_check_not_configured_for_database_is_an_error(house):
    house.with_logins = False
    house.extra = """
    [[checks.orphans]]
    database = "main"
    child = "public.a(x)"
    parent = "public.b(y)"
    """
    house.extra += f'[databases.second]\ndsn = "host={house.database.cluster.socket} port={house.database.cluster.port} dbname=postgres user=postgres"\n'
    done = house.sereno("check", "orphans", "--database", "second", check=False)
    assert (done.returncode, "orphans: does not run in second" in done.stdout) == (2, True)
