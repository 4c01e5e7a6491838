"""Trust domains: the code of one owner reaches nothing of another, whatever it is part of."""

import psycopg
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


HELD = """
CREATE FUNCTION m.forge() RETURNS int LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN {forged}; RETURN 0; END $$;
CREATE FUNCTION m.holds() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT m.forge()'; RETURN OLD; END $$;
CREATE TRIGGER holds BEFORE DELETE ON m.log FOR EACH STATEMENT EXECUTE FUNCTION m.holds()
"""


@pytest.mark.parametrize("job", ["archive", "log_cleanup"])
def test_row_written_into_the_ledger_at_commit_is_noticed(owners, job):
    """A cursor WITH HOLD runs at COMMIT, after the last look of the transaction."""
    forged = FORGED.replace("'a', 'log'", "'m', 'log'")
    as_mallory(
        owners,
        "CREATE TABLE m.log (id int PRIMARY KEY, at timestamptz NOT NULL)",
        ROWS.format("m.log"),
        HELD.format(forged=forged),
    )
    keep = CLEANED.format("m.log")
    owners.extra = keep
    if job == "archive":
        owners.extra = keep.replace("log_cleanup", "archive").replace("keep", "older_than")
        owners.extra += f'to = "file://{owners.folder}/archive"\n'
    owners.install()
    run = owners.run(job)
    (step,) = run["steps"]
    assert (run["state"], step["status"]) == ("failed", "failed")
    assert "at COMMIT, code of its owner wrote into sereno.archive_batch (rows: 1" in step["reason"]


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


HOSTILE_TABLE = """
CREATE FUNCTION m.tell() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN PERFORM pg_notify('loot', session_user::text); RETURN true; END $$;
CREATE FUNCTION m.told() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN m.tell(); END $$;
CREATE TABLE m.trap (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON m.trap (id) WHERE m.told();
INSERT INTO m.trap VALUES (1, '2020-01-01');
"""


def reports_of(connection):
    connection.execute("SELECT 1")
    return {note.payload for note in connection.notifies(timeout=0.2)}


def test_check_that_names_a_table_of_another_domain_is_not_planned(owners):
    """Planning comes before the check of privileges: without SELECT the code would run as well."""
    as_mallory(owners, HOSTILE_TABLE)
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE VIEW a.looks AS SELECT id FROM a.log")
        owners.database.run(f"GRANT SELECT ON m.trap TO {owners.alice}")
        connection.execute("CREATE VIEW a.lures AS SELECT id FROM m.trap")
    owners.database.run(f"REVOKE ALL ON m.trap FROM {owners.alice}")
    owners.install()
    checks = owners.folder / "checks.d"
    checks.mkdir()
    header = "-- title = 'x'\n-- domain = 'alice'\n"
    query = "SELECT 'x' AS object, count(*) AS value, 'seen' AS summary FROM "
    (checks / "names.sql").write_text(header + query + "m.trap")
    (checks / "views.sql").write_text(header + query + "a.lures")
    (checks / "own.sql").write_text(header + query + "a.looks")
    owners.extra += """
        [[checks.orphans]]
        child = "a.lures(id)"
        parent = "a.log(id)"
        """
    with psycopg.connect(owners.database.dsn, autocommit=True) as connection:
        connection.execute("LISTEN loot")
        run = owners.run("integrity_check")
        told = reports_of(connection)
    assert told <= {f"{owners.mallory}_data"}
    steps = {step["object"]: step for step in run["steps"]}
    assert steps["own"]["status"] == "done"
    for name in ("names", "views"):
        assert steps[name]["status"] == "skipped"
        assert "outside the trust domain" in steps[name]["reason"]
    (pair,) = [one for one in run["findings"] if one["kind"] == "orphans"]
    assert "outside the trust domain" in pair["summary"]


def test_condition_that_names_a_table_of_another_domain_is_refused(owners):
    as_mallory(owners, HOSTILE_TABLE)
    owners.install()
    owners.extra = owners.extra.rstrip() + '\nwhere = "id NOT IN (SELECT id FROM m.trap)"\n'
    with psycopg.connect(owners.database.dsn, autocommit=True) as connection:
        connection.execute("LISTEN loot")
        (step,) = owners.run("log_cleanup")["steps"]
        assert reports_of(connection) == set()
    assert "its condition (where): " in step["reason"]
    assert owners.database.value("SELECT count(*) FROM a.log") == 10


def test_check_of_one_domain_is_not_hidden_by_another(owners):
    """Only alice's login may read the table; the other is no reason to skip the check."""
    as_mallory(owners, "CREATE TABLE m.log (id int)")
    owners.install()
    checks = owners.folder / "checks.d"
    checks.mkdir()
    header = "-- title = 'x'\n-- option.warning = { default = 1 }\n"
    query = "SELECT 'x' AS object, count(*) AS value, 'seen' AS summary FROM a.log"
    (checks / "counts.sql").write_text(header + query)
    run = owners.run("integrity_check")
    found = {one["object"]: one for one in run["findings"] if one["kind"] == "counts"}
    assert found["x"]["severity"] == "warning"
    assert "not checked as domains.mallory.data" in found["domains.mallory.data"]["summary"]


def test_forged_detach_of_another_owners_table_under_an_own_parent_is_refused(owners):
    as_mallory(
        owners,
        "CREATE TABLE m.events (id int, at timestamptz) PARTITION BY RANGE (at)",
    )
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE TABLE a.precious (id int, at timestamptz)")
    owners.extra += CLEANED.format("m.events").rstrip() + '\npartitions = "drop"\n'
    owners.install()
    with owners.database.connect(f"{owners.mallory}_owner", autocommit=True) as connection:
        connection.execute(
            'INSERT INTO sereno.detached_partition (instance, "schema", "table", "oid",'
            " partition_schema, partition) SELECT instance_id, 'm', 'events',"
            " 'a.precious'::regclass, 'a', 'precious' FROM sereno.owner"
        )
    steps = {step["object"]: step for step in owners.run("log_cleanup")["steps"]}
    assert "outside the table's trust domain" in steps["a.precious"]["reason"]
    assert owners.database.value("SELECT to_regclass('a.precious') IS NOT NULL")


def test_batch_that_names_the_file_of_another_table_does_not_count(owners):
    as_mallory(owners, "CREATE TABLE m.log (id int)")
    owners.extra += CLEANED.format("m.log")
    owners.install()
    with owners.database.connect(f"{owners.mallory}_data", autocommit=True) as connection:
        connection.execute(FORGED.replace("'a', 'log'", "'m', 'log'"))
    assert archived_tables(owners) == set()
    done = owners.sereno("archive", "verify", check=False)
    assert "its file is that of another table: main/a/log/" in done.stderr


def test_destination_that_refers_to_another_owners_table_receives_nothing(owners):
    as_mallory(owners, HOSTILE_TABLE, f"GRANT REFERENCES ON m.trap TO {owners.alice}")
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE TABLE a.kept (id int REFERENCES m.trap, at timestamptz)")
    owners.extra = """
        [[jobs.archive.tables]]
        table = "a.log"
        column = "at"
        older_than = "30 days"
        to = "table:a.kept"
        """
    owners.install()
    (step,) = owners.run("archive")["steps"]
    assert "an insertion would reach m.trap" in step["reason"]


def test_owner_login_that_is_wrong_for_one_domain_stops_no_other(owners):
    with owners.database.connect(owners.alice, autocommit=True) as connection:
        connection.execute("CREATE TABLE a.events (id int, at timestamptz) PARTITION BY RANGE (at)")
        connection.execute(
            "CREATE TABLE a.old PARTITION OF a.events FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
        )
    as_mallory(owners, "CREATE TABLE m.own (id int)")
    owners.extra = CLEANED.format("a.events").rstrip() + '\npartitions = "drop"\n'
    owners.domains = dict(reversed(owners.domains.items()))
    owners.install()
    owners.database.run(f"GRANT SELECT ON a.secret TO {owners.mallory}, {owners.mallory}_owner")
    (step,) = owners.run("log_cleanup")["steps"]
    assert (step["object"], step["status"]) == ("a.old", "done"), step["reason"]
