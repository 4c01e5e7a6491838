"""Trust domains: the code of one owner reaches nothing of another, whatever it is part of."""

import pytest

from postgres.session import MAINTAIN, open_session
from retention.archive import ledger
from retention.rows.tamper_check import TamperCheck
from tests.postgres.attacker import CLEANED, FORGED, ROWS, TREASURE


def secret_and_log(house):
    if not house.database.value("SELECT to_regclass('a.log') IS NOT NULL"):
        return "dropped"
    words = [row["word"] for row in house.database.rows("SELECT word FROM a.secret")]
    return words, house.database.value("SELECT count(*) FROM a.log")


def archived_tables(house):
    with open_session(house.context().target("main"), MAINTAIN, "test") as session:
        return {str(batch.table) for batch in ledger.all_batches(session)}


def test_hostile_code_reaches_nothing_outside_its_domain(attack):
    house = attack.house
    house.install()
    attack.reports()
    trusted = house.database.rows("SELECT * FROM sereno.owner")
    runs = attack.run_all()
    reports = attack.reports()
    own = {attack.mallory, f"{attack.mallory}_data", f"{attack.mallory}_owner"}
    assert {login for _, login, _, _ in reports} <= {*own, house.maintain}
    # VACUUM and ANALYZE run it as the owner, in a context that refuses SET ROLE
    assert {user for _, _, user, _ in reports} <= own
    assert {words for _, _, _, words in reports} == {""}
    assert secret_and_log(house) == ([TREASURE], 2)
    assert house.database.rows("SELECT * FROM sereno.owner") == trusted
    assert archived_tables(house) <= {"m.archived"}
    steps = {step["object"]: step for step in runs["log_cleanup"]["steps"]}
    assert steps["a.log"]["status"] == "done"
    for way in ("row_trigger", "deferred"):
        assert "a trigger wrote into sereno.archive_batch" in steps[f"m.{way}"]["reason"]
    assert {runs[job]["state"] for job in ("analyze", "integrity_check")} == {"finished"}
    ran = {way for way, login, _, _ in reports if login != house.maintain}
    assert ran >= {"expression", "predicate", "statistics", "key", "view"}


@pytest.mark.parametrize("privileged", [True, False])
def test_same_code_wins_as_superuser_only_if_that_is_allowed(attack, privileged):
    """The attack is real: a superuser who is allowed to work on rows loses them."""
    house = attack.house
    house.install()
    house.domains, house.with_logins = {}, False
    house.database_lines = f"allow_privileged_dml = {str(privileged).lower()}\n"
    attack.reports()
    attack.run_all()
    stolen = {way for way, _, _, words in attack.reports() if words}
    won = (len(stolen) > 5, secret_and_log(house) != ([TREASURE], 10))
    assert won == (privileged, privileged), stolen


def as_mallory(house, *statements):
    with house.database.connect(house.mallory, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


REFERENCES = {
    "cascade": "CREATE TABLE m.child (id int REFERENCES a.log ON DELETE CASCADE)",
    "no action": "CREATE TABLE m.child (id int REFERENCES a.log)",
}


@pytest.mark.parametrize("how", REFERENCES)
@pytest.mark.parametrize("trusted", [True, False])
def test_rows_stay_if_an_owner_who_is_not_trusted_refers_to_them(owners, how, trusted):
    owners.database.run(f"GRANT REFERENCES ON a.log TO {owners.mallory}")
    as_mallory(owners, REFERENCES[how])
    if trusted:
        owners.database_lines = f'trust = [["{owners.alice}", "{owners.mallory}"]]\n'
    owners.install()
    (step,) = owners.run("log_cleanup")["steps"]
    if trusted and how == "no action":
        assert (step["status"], step["rows"]) == ("done", 8)
        return
    assert step["status"] == "failed"
    if not trusted:
        assert "a deletion would reach m.child" in step["reason"]
        assert f'trust = [["{owners.alice}", "{owners.mallory}"]]' in step["reason"]
    assert owners.database.value("SELECT count(*) FROM a.log") == 10


def test_reference_over_several_tables_is_found(owners):
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE TABLE a.child (id int PRIMARY KEY REFERENCES a.log)")
        connection.execute(f"GRANT REFERENCES ON a.child TO {owners.mallory}")
    as_mallory(owners, "CREATE TABLE m.grandchild (id int REFERENCES a.child)")
    owners.install()
    (step,) = owners.run("log_cleanup")["steps"]
    assert "a deletion would reach m.grandchild" in step["reason"]


def test_reference_added_during_the_run_ends_it(owners, monkeypatch):
    before = TamperCheck.before

    def add_reference(check):
        owners.database.run(f"GRANT REFERENCES ON a.log TO {owners.mallory}")
        as_mallory(owners, "CREATE TABLE IF NOT EXISTS m.child (id int REFERENCES a.log)")
        before(check)

    owners.install()
    monkeypatch.setattr(TamperCheck, "before", add_reference)
    (step,) = owners.run("log_cleanup")["steps"]
    assert (step["status"], "foreign keys have changed" in step["reason"]) == ("failed", True)


def test_login_with_rights_in_two_domains_works_in_none_and_the_other_goes_on(owners):
    as_mallory(owners, "CREATE TABLE m.log (id int, at timestamptz)")
    owners.extra += CLEANED.format("m.log")
    owners.install()
    as_mallory(owners, f"GRANT SELECT ON m.log TO {owners.alice}_data", ROWS.format("m.log"))
    first, second = owners.run("log_cleanup")["steps"]
    assert (first["object"], first["status"]) == ("a.log", "failed")
    assert "which do not trust each other" in first["reason"]
    assert (second["object"], second["status"], second["rows"]) == ("m.log", "done", 8)
    owners.install()
    assert owners.run("log_cleanup")["state"] == "finished"


def test_one_login_is_refused_for_tables_of_two_owners(owners):
    as_mallory(owners, "CREATE TABLE m.log (id int, at timestamptz)")
    owners.domains = {}
    owners.extra += CLEANED.format("m.log")
    done = owners.sereno("install", "main", "--admin", owners.database.dsn, check=False)
    assert (done.returncode, "is in no trust domain" in done.stderr) == (2, True)
    owners.database_lines = f'trust = [["{owners.mallory}", "{owners.alice}"]]\n'
    owners.install()
    assert owners.run("log_cleanup")["state"] == "finished"


def test_foreign_key_between_domains_is_not_checked_and_other_owners_are_named(owners):
    owners.database.run(f"GRANT REFERENCES ON a.log TO {owners.mallory}")
    as_mallory(owners, "CREATE TABLE m.child (id int REFERENCES a.log)")
    owners.database.run("CREATE TABLE public.other (id int)")
    owners.install()
    run = owners.run("integrity_check")
    assert run["state"] == "finished"
    (found,) = [one for one in run["findings"] if one["kind"] == "foreign_keys"]
    assert (found["object"], found["severity"]) == ("m.child.child_id_fkey", "info")
    assert "outside the trust domain" in found["summary"]
    skipped = [step["object"] for step in run["steps"] if step["status"] == "skipped"]
    assert skipped == ["tables of postgres"]


def test_check_of_rows_runs_in_each_domain_or_in_the_one_that_it_names(owners):
    as_mallory(owners, "CREATE TABLE m.log (id int, at timestamptz)")
    owners.install()
    checks = owners.folder / "checks.d"
    checks.mkdir()
    query = "SELECT session_user::text AS object, 1 AS value, 'seen' AS summary\n"
    header = "-- title = 'Who reads'\n-- option.warning = { default = 1 }\n"
    (checks / "each.sql").write_text(header + query)
    (checks / "one.sql").write_text(header + "-- domain = 'mallory'\n" + query)
    (checks / "statistics.sql").write_text(header + "-- reads = 'catalog'\n" + query)
    run = owners.run("integrity_check")
    seen = {(one["kind"], one["object"]) for one in run["findings"]}
    alice, mallory = f"{owners.alice}_data", f"{owners.mallory}_data"
    assert seen >= {("each", alice), ("each", mallory), ("one", mallory)}
    assert ("one", alice) not in seen
    assert ("statistics", owners.maintain) in seen


def test_forged_batch_does_not_count(owners):
    """As a cursor WITH HOLD writes it at COMMIT, after the last look of the transaction."""
    as_mallory(owners, "CREATE TABLE m.log (id int, at timestamptz)")
    owners.install()
    with owners.database.connect(f"{owners.mallory}_data", autocommit=True) as connection:
        connection.execute(FORGED)
    assert archived_tables(owners) == set()
    done = owners.sereno("archive", "verify", check=False)
    assert done.returncode == 1
    assert f"its writer, {owners.mallory}_data, has no right to remove rows" in done.stderr
    with owners.database.connect(f"{owners.alice}_data", autocommit=True) as connection:
        connection.execute(FORGED)
    assert archived_tables(owners) == {"a.log"}


def test_restore_is_refused_to_a_role_that_reaches_a_second_domain(owners):
    owners.install()
    run = owners.database.run
    run(f"GRANT {owners.alice} TO {owners.mallory}")
    run(f"GRANT USAGE ON SCHEMA sereno TO {owners.mallory}")
    run(f"GRANT SELECT, UPDATE ON sereno.archive_batch TO {owners.mallory}")
    as_mallory(owners, "CREATE TABLE m.own (id int)")
    with owners.database.connect(f"{owners.alice}_data", autocommit=True) as connection:
        connection.execute(FORGED)
    admin = owners.database.cluster.dsn(owners.database.name, owners.mallory)
    command = ("archive", "restore", "a.log", "--database", "main", "--yes", "--admin", admin)
    done = owners.sereno(*command, check=False)
    assert (done.returncode, "do not trust each other" in done.stderr) == (2, True), done.stderr


def test_record_of_a_detach_that_another_owner_forged_is_not_finished(owners):
    """Finishing it would drop a table that was never a partition."""
    owners.extra = """
        [[jobs.log_cleanup.tables]]
        table = "a.events"
        column = "at"
        keep = "30 days"
        partitions = "drop"
        """
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE TABLE a.events (id int, at timestamptz) PARTITION BY RANGE (at)")
        connection.execute("CREATE TABLE a.precious (id int, at timestamptz)")
        connection.execute("INSERT INTO a.precious VALUES (1, '2020-01-01')")
    as_mallory(owners, "CREATE TABLE m.own (id int)")
    owners.install()
    forged = """
        INSERT INTO sereno.detached_partition
          (instance, "schema", "table", "oid", partition_schema, partition)
        SELECT instance_id, 'a', 'events', 'a.precious'::regclass, 'a', 'precious' FROM sereno.owner
        """
    with owners.database.connect(f"{owners.mallory}_owner", autocommit=True) as connection:
        connection.execute(forged)
    assert owners.run("log_cleanup")["steps"] == []
    assert owners.database.value("SELECT count(*) FROM a.precious") == 1
    with owners.database.connect(f"{owners.alice}_owner", autocommit=True) as connection:
        connection.execute(forged)
    (step,) = owners.run("log_cleanup")["steps"]
    assert step["object"] == "a.precious", "the record counts as alice's own"
