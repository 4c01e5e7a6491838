"""Job log_cleanup: refused logins, hostile triggers and ownership of the database."""

import pytest

from tests.postgres.log_table import TABLE, fill

ATTACK_TRIGGER = """
CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', 'alice_{0}'); EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN PERFORM set_config('role', 'none', false); DROP TABLE public.treasure; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN DELETE FROM public.treasure; EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN OLD;
END $$;
CREATE TRIGGER attacks BEFORE DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.attack();
"""


def create_attack_trigger(house):
    """Create a trigger of alice, who owns the log, that attacks a table of bob; return her role."""
    alice, bob = f"alice_{house.maintain}", f"bob_{house.maintain}"
    for role in (alice, bob):
        house.database.run(f"CREATE ROLE {role} LOGIN")
    house.database.run(f"GRANT ALL ON SCHEMA public TO {alice}")
    house.database.run(f"ALTER TABLE public.log OWNER TO {alice}")
    house.database.run("CREATE TABLE public.treasure AS SELECT 1 AS gold")
    house.database.run(f"ALTER TABLE public.treasure OWNER TO {bob}")
    with house.database.connect(alice, autocommit=True) as connection:
        connection.execute(ATTACK_TRIGGER.format(house.maintain))
    house.install()
    return alice


def attack_succeeded(house, alice):
    superuser = house.database.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", alice)
    return superuser or house.database.value("SELECT to_regclass('public.treasure') IS NULL") or house.database.value("SELECT count(*) FROM public.treasure") == 0  # fmt: skip


def test_hostile_trigger_gains_no_privilege(log):
    alice = create_attack_trigger(log)
    fill(log, 20)
    run = log.run("log_cleanup")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 20)
    assert not attack_succeeded(log, alice)


def test_superuser_login_is_refused_and_nothing_is_deleted(log):
    alice = create_attack_trigger(log)
    fill(log, 20)
    log.data = "postgres"
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "SUPERUSER" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 30
    assert not attack_succeeded(log, alice)


def test_hostile_trigger_succeeds_with_allow_privileged_dml(log):
    """The attack works once the refusal of a superuser login is switched off."""
    alice = create_attack_trigger(log)
    fill(log, 20)
    log.data = "postgres"
    path = log.write()
    path.write_text(
        path.read_text().replace(
            "[schedules.daily]", "allow_privileged_dml = true\n[schedules.daily]", 1
        )
    )
    log.write = lambda: path
    assert log.run("log_cleanup")["steps"][0]["rows"] == 20
    assert attack_succeeded(log, alice)


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [("CREATEROLE", "CREATEROLE"), ("REPLICATION", "REPLICATION"), ("BYPASSRLS", "BYPASSRLS")],
)
def test_login_with_dangerous_role_attribute_is_refused(log, attribute, reason):
    """BYPASSRLS is dangerous if a table of another owner has policies."""
    fill(log, 1)
    log.database.run(
        f"CREATE TABLE public.theirs (a int); ALTER TABLE public.theirs OWNER TO app_{log.maintain};"
        " ALTER TABLE public.theirs ENABLE ROW LEVEL SECURITY"
    )
    log.install()
    log.database.run(f"ALTER ROLE {log.data} {attribute}")
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert reason in run["reason"]


def test_login_in_superuser_role_is_refused(log):
    fill(log, 1)
    log.database.run(f"CREATE ROLE dba_{log.data} SUPERUSER; GRANT dba_{log.data} TO {log.data}")
    assert "SUPERUSER" in log.run("log_cleanup")["reason"]
    log.database.run(f"DROP ROLE dba_{log.data}")


def test_login_that_owns_schema_is_refused(log):
    fill(log, 1)
    log.database.run(f"CREATE SCHEMA his AUTHORIZATION {log.data}")
    assert "the rights of the owner" in log.run("log_cleanup")["reason"]


def test_login_in_role_of_table_owner_is_refused(log):
    fill(log, 1)
    log.database.run(f"GRANT {create_attack_trigger(log)} TO {log.data}")
    assert "the rights of the owner alice_" in log.run("log_cleanup")["reason"]


def test_view_in_place_of_owner_table_is_not_read(house):
    """A view that calls a user function is in the place of sereno.owner."""
    house.with_logins = False
    house.extra = TABLE
    run = house.database.run
    run(
        "CREATE TABLE public.log (id int, at timestamptz); CREATE TABLE public.ran (a int); CREATE SCHEMA sereno"
    )
    run(
        "CREATE FUNCTION public.evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (1); RETURN 'x'; END $$"
    )
    run("CREATE VIEW sereno.owner AS SELECT public.evil() AS instance_id, 'x' AS instance_name")
    path = house.write()
    path.write_text(
        path.read_text().replace(
            "[schedules.daily]", "allow_privileged_dml = true\n[schedules.daily]", 1
        )
    )
    house.write = lambda: path
    assert "not the table that sereno created" in house.run("log_cleanup")["reason"]
    assert house.database.value("SELECT count(*) FROM public.ran") == 0


def test_database_of_another_instance_is_refused_until_trusted(log):
    """A staging clone has the same configuration and another state file."""
    log.need_state_file()
    fill(log, 5)
    (log.folder / "state.db").unlink()
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "belongs to another sereno" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 15
    log.sereno("trust", "main", "--yes")
    assert log.run("log_cleanup")["state"] == "finished"


def test_missing_schema_refuses_deletes_and_allows_checks(house):
    house.with_logins = False
    house.database.run("CREATE TABLE public.log (id int, at timestamptz)")
    house.extra = TABLE
    assert "sereno install main" in house.run("log_cleanup")["reason"]
    assert house.run("integrity_check")["state"] == "finished"


def test_table_with_policies_is_cleaned_by_a_login_that_sees_all_rows(log):
    fill(log, 5)
    log.database.run("ALTER TABLE public.log ENABLE ROW LEVEL SECURITY")
    log.database.run("CREATE TABLE public.child (id bigint REFERENCES public.log)")
    log.install()
    (step,) = log.run("log_cleanup")["steps"]
    assert (step["status"], log.database.value("SELECT count(*) FROM public.log")) == ("failed", 15)
    cure = f"ALTER ROLE {log.data} BYPASSRLS"
    assert cure in step["reason"]
    (found,) = [
        one for one in log.run("integrity_check")["findings"] if one["kind"] == "foreign_keys"
    ]
    assert (found["severity"], cure in found["summary"]) == ("info", True)
    log.database.run(cure)
    (step,) = log.run("log_cleanup")["steps"]
    assert (step["status"], step["rows"]) == ("done", 5)


def test_trigger_that_needs_a_search_path_is_named_with_its_cure(log):
    fill(log, 5)
    log.database.run("CREATE TABLE public.counter (n int); GRANT ALL ON public.counter TO PUBLIC")
    log.database.run(
        "CREATE FUNCTION public.counts() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE counter SET n = n - 1; RETURN OLD; END $$"
    )
    log.database.run(
        "CREATE TRIGGER counts AFTER DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.counts()"
    )
    (step,) = log.run("log_cleanup")["steps"]
    assert step["status"] == "failed"
    assert 'relation "counter" does not exist' in step["reason"]
    assert "ALTER FUNCTION … SET search_path = …" in step["reason"]
    log.database.run("ALTER FUNCTION public.counts() SET search_path = public")
    assert log.run("log_cleanup")["steps"][0]["rows"] == 5
