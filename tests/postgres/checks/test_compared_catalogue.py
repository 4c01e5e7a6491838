"""Checks that compare a look with earlier ones; the days between are those of the given clock."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest

from checks.history import FIRST_LOOK


@pytest.fixture
def own(clusters, make_database, make_house, tmp_path):
    """Return a house on a server of its own, with pg_stat_statements."""
    cluster = clusters(
        "embedded",
        shared_preload_libraries="pg_stat_statements",
        autovacuum_freeze_max_age="100000",
    )
    with make_database(cluster) as database:
        made = make_house(tmp_path, database)
        made.with_logins = False
        made.cluster = cluster
        yield made
        made.close()


def look(house, check, day=0.0):
    """Run the checks on a day and return the findings of one, by object."""
    context = house.context()
    now = context.clock() + timedelta(days=day)
    ran = house.run("integrity_check", context=replace(context, clock=lambda: now))
    (step,) = [one for one in ran["steps"] if one["object"] == check]
    assert step["status"] == "done", step["reason"]
    assert step["reason"] in {"", FIRST_LOOK}, step["reason"]
    return {one["object"]: one for one in ran["findings"] if one["kind"] == check}


def test_new_role_is_found_for_a_week_by_its_rights(own):
    run = own.database.run
    assert look(own, "roles_changed") == {}
    run('CREATE ROLE "Big boss" LOGIN SUPERUSER; CREATE ROLE reader LOGIN')
    run("CREATE ROLE writer LOGIN; GRANT pg_write_all_data TO writer")
    try:
        found = look(own, "roles_changed", 1)
        writer = found.pop("writer")
        assert (writer["severity"], writer["remedy"]) == (
            "warning",
            "if that is not meant: REVOKE pg_write_all_data FROM writer;",
        )
        assert {name: one["severity"] for name, one in found.items()} == {
            '"Big boss"': "warning",
            "reader": "info",
        }
        assert found['"Big boss"']["summary"].startswith("new: LOGIN, SUPERUSER (since ")
        run(found['"Big boss"']["remedy"].partition("not meant: ")[2])
        again = look(own, "roles_changed", 2)['"Big boss"']
        assert (again["severity"], "LOGIN, SUPERUSER → LOGIN" in again["summary"]) == ("info", True)
        assert look(own, "roles_changed", 9.5) == {}
    finally:
        run('DROP ROLE "Big boss", reader, writer')


def test_changed_setting_is_found_without_its_secrets(own, wait):
    run = own.database.run
    assert look(own, "settings_changed") == {}
    run("ALTER SYSTEM SET work_mem = '5MB'")
    run("ALTER SYSTEM SET restore_command = 'get --password=hunter2 %f %p'")
    run("SELECT pg_reload_conf()")
    wait(lambda: own.database.value("SHOW work_mem") == "5MB", what="the setting")
    try:
        found = look(own, "settings_changed", 1)
        assert {one["severity"] for one in found.values()} == {"info"}
        assert found["work_mem"]["summary"].startswith("changed: 4096 kB → 5120 kB (since ")
        assert "md5 " in found["restore_command"]["summary"]
        assert "hunter2" not in str(found)
    finally:
        run("ALTER SYSTEM RESET ALL")
        run("SELECT pg_reload_conf()")


def test_extension_that_is_new_or_gone_is_found(any_house):
    house = any_house
    house.with_logins = False
    assert look(house, "extensions_changed") == {}
    house.database.run("CREATE EXTENSION pg_trgm")
    (found,) = look(house, "extensions_changed", 1).values()
    assert (found["object"], found["severity"]) == ("pg_trgm", "info")
    assert found["summary"].startswith("new: ")
    look(house, "extensions_changed", 2.5)
    house.database.run("DROP EXTENSION pg_trgm")
    (found,) = look(house, "extensions_changed", 3).values()
    assert found["summary"].startswith("gone: ")
    assert look(house, "extensions_changed", 11) == {}


def test_standby_that_is_gone_is_missed_for_a_week(own, wait, tmp_path):
    folder = tmp_path / "wal"
    folder.mkdir()
    command = [own.cluster.program("pg_receivewal"), "-D", str(folder), "--no-loop"]
    command += ["-h", str(own.cluster.socket), "-p", str(own.cluster.port), "-U", "postgres"]
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"

    def start():
        receiver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait(lambda: own.database.value(streaming) == 1, what="the receiver")
        return receiver

    def end(receiver):
        receiver.kill()
        receiver.wait()
        wait(lambda: own.database.value(streaming) == 0, what="the end of the receiver")

    own.extra = '[governor]\npatience = "1s"\n'  # and a receiver without replay does not pause
    receiver = start()
    try:
        assert look(own, "standby_gone") == {}
    finally:
        end(receiver)
    assert look(own, "standby_gone", 0.5) == {}  # it was there for half a day
    receiver = start()
    try:
        look(own, "standby_gone", 1)
        look(own, "standby_gone", 2.5)
    finally:
        end(receiver)
    (found,) = look(own, "standby_gone", 3).values()
    assert (found["object"], found["severity"]) == ("pg_receivewal", "high")
    assert look(own, "standby_gone", 9.9).keys() == {"pg_receivewal"}
    assert look(own, "standby_gone", 10.1) == {}


@pytest.mark.parametrize("direction", ["rising", "falling"])
def test_days_left_of_a_sequence_are_found_before_its_share(any_house, direction):
    house = any_house
    house.with_logins = False
    how = "" if direction == "rising" else "INCREMENT -1 MINVALUE -1000000 MAXVALUE -1 START -1"
    run, sign = house.database.run, 1 if direction == "rising" else -1
    run(f"CREATE SEQUENCE public.s {how or 'MAXVALUE 1000000'}")
    run(f"SELECT setval('public.s', {sign * 400000})")
    assert look(house, "sequence_exhaustion") == {}
    run(f"SELECT setval('public.s', {sign * 500000})")
    (found,) = look(house, "sequence_exhaustion", 5).values()
    assert (found["object"], found["severity"]) == ("public.s", "high")
    assert found["summary"].endswith("; 25 days left at this pace")
    run(found["remedy"])
    assert look(house, "sequence_exhaustion", 6) == {}


def test_days_left_of_the_transaction_ids_count_beyond_autovacuums_limit(own):
    assert look(own, "wraparound") == {}
    own.database.run("CREATE TABLE public.t (a int)")
    burn = "DO $$ BEGIN FOR n IN 1..115000 LOOP BEGIN INSERT INTO public.t VALUES (1); EXCEPTION WHEN OTHERS THEN END; END LOOP; END $$"  # fmt: skip
    own.extra = "[checks.wraparound]\ndays_warning = 1000000\n"
    with own.database.connect() as holder:  # autovacuum cannot freeze what it may see
        holder.execute("INSERT INTO public.t VALUES (1)")
        own.database.run(burn)
        assert look(own, "wraparound", 1) == {}
        own.database.run(burn)
        found = look(own, "wraparound", 5)
        assert {one["severity"] for one in found.values()} == {"warning"}
        assert own.database.name in found
        own.extra = ""
        assert look(own, "wraparound", 6) == {}
        holder.rollback()


def test_statement_that_became_slower_is_found(own):
    run = own.database.run
    run("CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()")
    run(
        "CREATE FUNCTION public.work(ms int) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(ms / 1000.0)'"
    )

    def call(milliseconds, times=100):
        with own.database.connect() as session:
            for _ in range(times):
                session.execute(f"SELECT public.work({milliseconds})")

    assert look(own, "statement_regression") == {}
    for day in (1, 8):
        call(1)
        assert look(own, "statement_regression", day) == {}
    call(25)
    (found,) = look(own, "statement_regression", 9).values()
    assert found["severity"] == "warning"
    assert "SELECT public.work($1)" in found["summary"]
    call(25, times=50)  # too few to say that it lasts
    assert look(own, "statement_regression", 10) == {}
    run("SELECT pg_stat_statements_reset()")
    call(1)
    assert look(own, "statement_regression", 11) == {}


def test_statements_are_not_compared_where_nothing_counts_them(any_house):
    any_house.with_logins = False
    assert look(any_house, "statement_regression") == {}
    if any_house.database.value("SHOW shared_preload_libraries") == "":
        any_house.database.run("CREATE EXTENSION pg_stat_statements")
        ran = any_house.run("integrity_check")
        (step,) = [one for one in ran["steps"] if one["object"] == "statement_regression"]
        assert step["status"] == "skipped"
        assert "shared_preload_libraries" in step["reason"]


def test_statements_are_not_seen_without_the_extension(own):
    ran = own.run("integrity_check")
    (step,) = [one for one in ran["steps"] if one["object"] == "statement_regression"]
    assert (step["status"], ran["state"]) == ("skipped", "finished")
    assert "CREATE EXTENSION pg_stat_statements" in step["reason"]


def test_finding_hides_behind_no_row_that_is_none(own):
    """Only findings count for most_findings, and the worst come first."""
    run = own.database.run
    for number in range(30):
        run(
            f"CREATE SEQUENCE public.s{number} MAXVALUE 1000; SELECT setval('public.s{number}', 500)"
        )
    run("CREATE SEQUENCE public.fast MAXVALUE 1000; SELECT setval('public.fast', 310)")
    own.extra = "[checks.sequence_exhaustion]\nmost_findings = 5\n"
    assert look(own, "sequence_exhaustion") == {}
    run("SELECT setval('public.fast', 450)")
    found = look(own, "sequence_exhaustion", 2)
    assert {name: one["severity"] for name, one in found.items()} == {"public.fast": "critical"}


COMPARING = {
    "call": "-- per = 'call'\n-- option.warning = { default = 2 }\n-- option.least_ms = { default = 1 }\n",
    "forecast": "-- forecast = true\n",
    "changes": "-- changes = ['new']\n-- option.days = { default = 7 }\n",
}


@pytest.mark.parametrize(
    "columns", ["", ", 'x' AS value, 'y' AS calls, 'z' AS level, 'z' AS \"limit\""]
)
@pytest.mark.parametrize("kind", sorted(COMPARING))
def test_check_whose_rows_cannot_be_compared_stops_no_other(house, kind, columns):
    house.with_logins = False
    (house.folder / "checks.d").mkdir()
    head = f"-- title = 'x'\n-- reads = 'catalog'\n{COMPARING[kind]}"
    text = f"{head}SELECT 'o' AS object, 'm' AS summary{columns}"
    (house.folder / "checks.d" / "mine.sql").write_text(text)
    house.run("integrity_check")
    steps = {one["object"]: one for one in house.run("integrity_check")["steps"]}
    assert (steps["mine"]["status"], len(steps) > 30) == ("failed", True)
    assert "mine" in steps["mine"]["reason"]
    assert {one["status"] for name, one in steps.items() if name != "mine"} <= {"done", "skipped"}


TENANT = 'tenant = "Coop id"\n'


def test_table_with_a_tenant_that_enforces_nothing_is_found(any_house):
    house = any_house
    house.with_logins = False
    house.database_lines = TENANT
    run = house.database.run
    for name in ("safe", "off", "owned"):
        run(f'CREATE TABLE public.{name} ("Coop id" int)')
    run("CREATE TABLE public.other (a int)")
    (found,) = look(house, "tenant_rls").values()
    assert (found["object"], found["severity"]) == ('"Coop id"', "info")
    owner = f"owner_{house.database.name}"
    run(f"CREATE ROLE {owner} LOGIN; ALTER TABLE public.owned OWNER TO {owner}")
    try:
        for name in ("safe", "owned"):
            run(f'CREATE POLICY tenant ON public.{name} USING ("Coop id" = 1)')
            run(f"ALTER TABLE public.{name} ENABLE ROW LEVEL SECURITY")
        run("CREATE POLICY anyone ON public.safe FOR INSERT WITH CHECK (true)")
        run('CREATE POLICY own ON public.owned USING (true) WITH CHECK ("Coop id" = 1)')
        run('CREATE TABLE public.strict ("Coop id" int)')
        run('CREATE POLICY tenant ON public.strict AS RESTRICTIVE USING ("Coop id" = 1)')
        run("CREATE POLICY everyone ON public.strict USING (true)")
        run("ALTER TABLE public.strict ENABLE ROW LEVEL SECURITY")
        found = look(house, "tenant_rls")
        assert {name: one["severity"] for name, one in found.items()} == {
            "public.off": "warning",
            "public.owned": "warning",
            "public.owned (own)": "warning",
            "public.safe (anyone)": "warning",
        }
        run(found["public.owned"]["remedy"])
        run("DROP POLICY anyone ON public.safe; DROP POLICY own ON public.owned")
        run(found["public.off"]["remedy"].replace("…", "USING (true)"))
        assert look(house, "tenant_rls").keys() == {"public.off (tenant)"}
    finally:
        run(f"DROP TABLE public.owned; DROP ROLE {owner}")


def test_tenants_are_not_looked_for_where_no_column_is_declared(house):
    house.with_logins = False
    house.database.run('CREATE TABLE public.t ("Coop id" int)')
    assert "tenant_rls" not in {step.object for step in house.plan("integrity_check")}
    assert "tenant_rls" not in house.sereno("check").stdout
    named = house.sereno("check", "tenant_rls", check=False)
    assert (named.returncode, "add tenant to [databases.NAME]" in named.stderr) == (2, True)


def test_partitions_and_constraints_of_a_changed_collation_are_found(any_house):
    house = any_house
    house.with_logins = False
    run = house.database.run
    if not house.database.rows("SELECT FROM pg_collation WHERE collname = 'de-x-icu'"):
        pytest.skip("this server is built without ICU")
    run("CREATE COLLATION public.\"Deutsch\" (provider = icu, locale = 'de')")
    run('CREATE TABLE public.p (a text COLLATE public."Deutsch") PARTITION BY RANGE (a)')
    run("CREATE TABLE public.\"first half\" PARTITION OF public.p FOR VALUES FROM ('a') TO ('m')")
    run("CREATE TABLE public.t (a text CHECK (a COLLATE public.\"Deutsch\" > 'b'))")
    assert look(house, "collation_changed") == {}
    run("UPDATE pg_collation SET collversion = '1' WHERE collname = 'Deutsch'")
    found = look(house, "collation_changed")
    assert {name: one["severity"] for name, one in found.items()} == {
        'public."first half"': "high",
        "public.t t_a_check": "high",
    }
    for one in found.values():
        assert house.database.rows(one["remedy"].partition("no longer fit: ")[2]) == []
