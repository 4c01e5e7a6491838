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
        assert 'public."T".id' in findings[0]["remedy"]


def test_unused_and_cycling_sequences_have_no_finding_and_descending_has(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE SEQUENCE public.fresh MAXVALUE 10; CREATE SEQUENCE public.round MAXVALUE 10 CYCLE")
    run("SELECT setval('public.round', 10)")
    run(
        "CREATE SEQUENCE public.down INCREMENT -1 MINVALUE -100 MAXVALUE -1; SELECT setval('public.down', -95)"
    )
    assert any_house.finding("integrity_check", "sequence_exhaustion")["object"] == "public.down"
