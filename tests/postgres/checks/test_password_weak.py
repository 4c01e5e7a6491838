"""The check `password_weak` as `maintain`, which may not read the hashes."""

import json

import psycopg
import pytest


@pytest.fixture
def role(house):
    name = f"{house.database.name}_role"
    house.database.run("SET password_encryption = 'md5'")
    house.database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    house.database.run("RESET password_encryption")
    yield name
    house.database.run(f"DROP ROLE {name}")


def found(house):
    findings = house.run("integrity_check")["findings"]
    return {one["object"]: one for one in findings if one["kind"] == "password_weak"}


def test_md5_password_is_seen_by_the_function_of_install(house, role):
    house.install()
    assert (found(house)[role]["severity"], "md5" in found(house)) == ("warning", False)
    with psycopg.connect(
        house.database.dsn + f" user={house.maintain}", autocommit=True
    ) as maintain:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            maintain.execute("SELECT rolpassword FROM pg_authid")
    house.database.run("CREATE ROLE everybody_else")
    with house.database.connect() as other:
        other.execute("SET ROLE everybody_else")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("SELECT sereno.md5_passwords()")
    house.database.run("DROP ROLE everybody_else")


def test_missing_function_is_told_with_its_cure(house, role):
    house.install()
    assert role in found(house)
    house.database.run("DROP FUNCTION sereno.md5_passwords()")
    unseen = found(house)
    opened = json.loads(house.sereno("alerts", "list", "--json").stdout)
    assert role in {one["object"] for one in opened if one["kind"] == "password_weak"}
    assert role not in unseen
    assert unseen["md5"]["severity"] == "info"
    assert "sereno install" in unseen["md5"]["remedy"]
