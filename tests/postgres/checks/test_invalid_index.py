import pytest
from psycopg import errors

REMEDY = (
    'REINDEX INDEX CONCURRENTLY public."T_a_key"; (or DROP INDEX CONCURRENTLY public."T_a_key";)'
)


def test_failed_concurrent_build_is_found_until_index_is_dropped(any_house):
    any_house.with_logins = False
    run = any_house.database.run
    run('CREATE TABLE public."T" (a int)')
    assert any_house.run("integrity_check")["findings"] == []
    run('INSERT INTO public."T" VALUES (1), (1)')
    with pytest.raises(errors.UniqueViolation):
        run('CREATE UNIQUE INDEX CONCURRENTLY "T_a_key" ON public."T" (a)')
    finding = any_house.finding("integrity_check", "invalid_index")
    assert (finding["object"], finding["severity"], finding["remedy"]) == (
        'public."T_a_key"',
        "warning",
        REMEDY,
    )
    run('DROP INDEX public."T_a_key"')
    assert any_house.run("integrity_check")["findings"] == []
