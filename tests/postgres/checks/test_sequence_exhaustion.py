import pytest


@pytest.mark.parametrize(
    ("share", "severity"), [(0.74, None), (0.76, "warning"), (0.92, "high"), (0.98, "critical")]
)
def test_severity_depends_on_smaller_limit_of_sequence_and_column(any_house, share, severity):
    any_house.with_logins = False
    run = any_house.database.run
    run('CREATE TABLE public."T" (id int)')
    run('CREATE SEQUENCE public."T_id" AS bigint OWNED BY public."T".id')
    run("SELECT setval('public.\"T_id\"', (2147483647 * %s::numeric)::bigint)", share)
    findings = any_house.run("integrity_check")["findings"]
    assert [finding["severity"] for finding in findings] == ([severity] if severity else [])
    if severity:
        assert findings[0]["object"] == 'public."T_id"'
        assert 'ALTER TABLE public."T" ALTER COLUMN id' in findings[0]["remedy"]


def test_unused_and_cycling_sequences_have_no_finding_and_descending_has(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE SEQUENCE public.fresh MAXVALUE 10; CREATE SEQUENCE public.round MAXVALUE 10 CYCLE")
    run("SELECT setval('public.round', 10)")
    run(
        "CREATE SEQUENCE public.down INCREMENT -1 MINVALUE -100 MAXVALUE -1; SELECT setval('public.down', -95)"
    )
    assert any_house.finding("integrity_check", "sequence_exhaustion")["object"] == "public.down"


def run_remedy(any_house, *statements):
    """Run the statements, then the remedy of the only finding; return its severity and remedy."""
    any_house.with_logins = False
    run = any_house.database.run
    for statement in statements:
        run(statement)
    finding = any_house.finding("integrity_check", "sequence_exhaustion")
    for part in finding["remedy"].split(";"):
        command = part.strip()
        if command.startswith("(rewrites"):
            command = command.partition(")")[2].strip()
        if command:
            run(command)
    assert any_house.run("integrity_check")["findings"] == []
    return finding["severity"], finding["remedy"]


FREE = "CREATE SEQUENCE public.free; SELECT setval('public.free', 2140000000)"
BY_DEFAULT = "CREATE TABLE public.t (id int PRIMARY KEY DEFAULT nextval('public.free'))"


@pytest.mark.parametrize(
    ("statements", "parts"),
    [
        ((FREE, BY_DEFAULT), ["ALTER TABLE public.t ALTER COLUMN id TYPE bigint;"]),
        (
            (FREE, BY_DEFAULT.replace("int ", "public.key ")),
            ["ALTER TABLE public.t ALTER COLUMN id TYPE bigint;"],
        ),
        (
            (
                "CREATE TABLE public.t (id serial); SELECT setval('public.t_id_seq', 2140000000)",
                "ALTER TABLE public.t ALTER id TYPE bigint",
            ),
            ["ALTER SEQUENCE public.t_id_seq AS bigint;"],
        ),
        (
            ("CREATE TABLE public.t (id serial); SELECT setval('public.t_id_seq', 2140000000)",),
            ["ALTER COLUMN id TYPE bigint;", "ALTER SEQUENCE public.t_id_seq AS bigint;"],
        ),
        (
            (
                "CREATE TABLE public.t (id smallint GENERATED ALWAYS AS IDENTITY)",
                "SELECT setval('public.t_id_seq', 32700)",
            ),
            ["ALTER TABLE public.t ALTER COLUMN id TYPE bigint;"],
        ),
        (
            (
                "CREATE SEQUENCE public.down INCREMENT -1",
                "SELECT setval('public.down', -2140000000)",
                "CREATE TABLE public.t (id int DEFAULT nextval('public.down'))",
            ),
            ["ALTER TABLE public.t ALTER COLUMN id TYPE bigint;"],
        ),
        (
            (
                "CREATE TABLE public.t (id int GENERATED ALWAYS AS IDENTITY (MAXVALUE 9999))",
                "SELECT setval('public.t_id_seq', 9990)",
            ),
            ["ALTER SEQUENCE public.t_id_seq NO MAXVALUE;"],
        ),
        (
            ("CREATE SEQUENCE public.capped MAXVALUE 100; SELECT setval('public.capped', 99)",),
            ["ALTER SEQUENCE public.capped NO MAXVALUE;"],
        ),
    ],
)
def test_remedy_cures_each_way_of_feeding_a_column(any_house, statements, parts):
    any_house.database.run("CREATE DOMAIN public.key AS int")
    severity, remedy = run_remedy(any_house, *statements)
    assert severity == "critical"
    assert all(part in remedy for part in parts)
    assert ("ALTER SEQUENCE" in remedy) is any("ALTER SEQUENCE" in part for part in parts)


def test_sequence_beyond_the_range_of_its_column_hides_no_other(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (id int)")
    run("CREATE SEQUENCE public.beyond MINVALUE 2147483648 OWNED BY public.t.id")
    run("SELECT nextval('public.beyond')")
    assert any_house.finding("integrity_check", "sequence_exhaustion")["severity"] == "critical"
