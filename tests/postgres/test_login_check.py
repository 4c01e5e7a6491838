"""Logins that code of a table's owner has changed during a run are alerted."""

from pathlib import Path

import pytest

from tests.fixtures.secrets import write_secret
from tests.postgres.log_table import TABLE, fill

TRIGGER = """
CREATE FUNCTION public.change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('ALTER ROLE %I {}', session_user); RETURN OLD; END $$;
CREATE TRIGGER change BEFORE DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.change();
"""
HBA = """
local all postgres trust
local all all scram-sha-256
"""


@pytest.fixture
def with_passwords(clusters, scratch, make_database, make_house, tmp_path):
    """Return an installed sereno on a server that asks its logins for passwords."""
    rules = scratch / "hba.conf"
    rules.write_text(HBA)
    rules.chmod(0o644)
    with make_database(clusters("embedded", hba_file=str(rules))) as database:
        house = make_house(tmp_path, database)
        for name in ("maintain", "data"):
            write_secret(tmp_path / name, f"password of {name}")
        path = house.write()
        text = path.read_text()
        for name in ("maintain", "data"):
            user = getattr(house, name)
            secret = f'password = {{ file = "{tmp_path / name}" }}'
            text = text.replace(f'"{user}" }}', f'"{user}", {secret} }}')
        path.write_text(text + TABLE)
        house.write = lambda: path
        database.run("CREATE TABLE public.log (id bigint PRIMARY KEY, at timestamptz, note text)")
        assert house.install().returncode == 0
        yield house


def open_alerts(house):
    from alerts import alert_store

    with house.context().store.reading() as transaction:
        return {(one.kind, one.object): one for one in alert_store.load_open(transaction)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("PASSWORD ''mine''", "cannot log in any more: main: "),
        ("SET lock_timeout = 1", "its settings were changed: lock_timeout=1"),
    ],
)
def test_login_changed_by_a_trigger_is_a_critical_alert_until_it_is_mended(
    with_passwords, change, reason
):
    house = with_passwords
    fill(house, 5)
    house.run("log_cleanup")
    key = ("login_changed", house.data)
    assert key not in open_alerts(house)
    house.database.run("INSERT INTO public.log SELECT n, '2020-01-01' FROM generate_series(1, 5) n")
    house.database.run(TRIGGER.format(change))
    house.run("log_cleanup")
    alert = open_alerts(house)[key]
    assert alert.severity == "critical"
    assert reason in alert.summary
    assert "mine" not in alert.summary

    house.database.run("DROP TRIGGER change ON public.log")
    if "PASSWORD" not in change:
        house.run("log_cleanup")
        assert key in open_alerts(house), "the settings are still there"
    house.database.run(f"ALTER ROLE {house.data} RESET ALL")
    assert house.install().returncode == 0
    house.run("log_cleanup")
    assert key not in open_alerts(house)


def test_install_names_the_logins_that_the_server_does_not_let_in(with_passwords):
    house = with_passwords
    rules = Path(house.database.value("SHOW hba_file"))
    rules.write_text(f"local all postgres trust\nlocal all {house.maintain} scram-sha-256\n")
    house.database.run("SELECT pg_reload_conf()")
    try:
        done = house.sereno("install", "main", "--admin", house.database.dsn, check=False)
    finally:
        rules.write_text(HBA)
        house.database.run("SELECT pg_reload_conf()")
    assert done.returncode == 1
    assert "the server does not let these logins in yet" in done.stderr
    assert f"local {house.database.name} {house.data} scram-sha-256" in done.stderr
    assert f"  {house.maintain}: " not in done.stderr
    assert house.database.value("SELECT to_regnamespace('sereno') IS NOT NULL")
