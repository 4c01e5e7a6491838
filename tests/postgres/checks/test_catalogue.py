"""Each check of the catalogue: the illness is made, found exactly once, cured by its remedy, gone.

A remedy that a person has to decide about is marked; then another statement cures.
"""

import re
import threading
from dataclasses import dataclass, field

import psycopg
import pytest

from checks.history import FIRST_LOOK
from checks.registry import load
from checks.sql_check import SqlCheck

DECIDE = "a person decides"
FILLED = "INSERT INTO public.t SELECT n FROM generate_series(1, 20000) n; ANALYZE public.t"


@dataclass(frozen=True)
class Illness:
    """How an illness is made, what is found, and how it ends."""

    check: str
    make: str
    object: str
    severity: str
    options: dict = field(default_factory=dict)
    cure: str = ""
    """The statement that ends it, if the remedy is a decision."""
    since: int = 14


PARTITIONED = """
    CREATE TABLE public.p (at timestamptz) PARTITION BY RANGE (at);
    SELECT format('CREATE TABLE public.p_%s PARTITION OF public.p FOR VALUES FROM (%L) TO (%L)', n,
                  date_trunc('day', now()) + (n - 3) * interval '1 day',
                  date_trunc('day', now()) + (n - 2) * interval '1 day') AS command
    FROM generate_series(1, 3) n
"""

ILLNESSES = [
    Illness(
        "disabled_trigger",
        "CREATE TABLE public.t (a int); CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW;END'; CREATE TRIGGER \"My trigger\" BEFORE INSERT ON public.t"
        " FOR EACH ROW EXECUTE FUNCTION public.f(); ALTER TABLE public.t DISABLE TRIGGER ALL",
        "public.t",
        "warning",
    ),
    Illness(
        "disabled_trigger",
        "CREATE TABLE public.p (a int PRIMARY KEY); CREATE TABLE public.c (a int REFERENCES public.p);"
        " ALTER TABLE public.c DISABLE TRIGGER ALL",
        "public.c",
        "high",
    ),
    Illness(
        "definer_without_search_path",
        "CREATE FUNCTION public.f(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "public.f(a integer)",
        "high",
    ),
    Illness(
        "definer_without_search_path",
        "CREATE PROCEDURE public.q() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "public.q()",
        "high",
    ),
    Illness(
        "public_create",
        'CREATE SCHEMA "A b"; GRANT CREATE ON SCHEMA "A b" TO PUBLIC',
        '"A b"',
        "warning",
    ),
    Illness(
        "public_write",
        "CREATE TABLE public.t (a int); GRANT SELECT, INSERT, DELETE ON public.t TO PUBLIC",
        "public.t",
        "warning",
    ),
    Illness(
        "policies_not_enabled",
        "CREATE TABLE public.t (a int); CREATE POLICY one ON public.t; CREATE POLICY two ON public.t",
        "public.t",
        "high",
    ),
    Illness(
        "autovacuum_disabled",
        f"CREATE TABLE public.t (a int) WITH (autovacuum_enabled = false); {FILLED}",
        "public.t",
        "warning",
    ),
    Illness(
        "autovacuum_disabled",
        "CREATE TABLE public.t (a int, b text) WITH (toast.autovacuum_enabled = off);"
        " INSERT INTO public.t SELECT n FROM generate_series(1, 20000) n; ANALYZE public.t",
        "public.t",
        "warning",
    ),
    Illness(
        "unlogged_table", f"CREATE UNLOGGED TABLE public.t (a int); {FILLED}", "public.t", "warning"
    ),
    Illness(
        "fk_without_index",
        "CREATE TABLE public.p (a int PRIMARY KEY); INSERT INTO public.p SELECT generate_series(1, 20000);"
        f" CREATE TABLE public.t (a int CONSTRAINT k REFERENCES public.p); {FILLED};"
        " DELETE FROM public.t WHERE a = 7; DELETE FROM public.p WHERE a = 7",
        "public.t.k",
        "info",
        {"rows": 10000},
    ),
    Illness(
        "fk_duplicate",
        "CREATE TABLE public.p (a int PRIMARY KEY); CREATE TABLE public.c (a int,"
        " CONSTRAINT one FOREIGN KEY (a) REFERENCES public.p, CONSTRAINT two FOREIGN KEY (a) REFERENCES public.p)",
        "public.c.two",
        "warning",
    ),
    Illness(
        "overlapping_index",
        "CREATE TABLE public.t (a int, b int); INSERT INTO public.t SELECT n, n FROM generate_series(1, 9) n;"
        " CREATE INDEX short ON public.t (a); CREATE INDEX long ON public.t (a, b)",
        "public.short",
        "info",
        {"bytes": 1},
    ),
    Illness("extension_behind", "CREATE EXTENSION pg_trgm VERSION '1.3'", "pg_trgm", "info"),
    Illness(
        "subscription_broken",
        "CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, enabled = false,"
        " slot_name = NONE)",
        "sub",
        "high",
        cure="DROP SUBSCRIPTION sub",
    ),
    Illness(
        "default_partition_rows",
        "CREATE TABLE public.p (a int) PARTITION BY RANGE (a); CREATE TABLE public.rest PARTITION OF public.p"
        " DEFAULT; INSERT INTO public.p VALUES (1); ANALYZE public.rest",
        "public.rest",
        "info",
        cure="DELETE FROM public.rest; VACUUM ANALYZE public.rest",
    ),
    Illness(
        "autovacuum_starving",
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 20000); ANALYZE public.t;"
        " DELETE FROM public.t",
        "public.t",
        "high",
        {"hours": 0},
    ),
    Illness("partition_missing", PARTITIONED, "public.p", "critical"),
    Illness(
        "table_bloat",
        "CREATE TABLE public.t (a int, b text) WITH (autovacuum_enabled = off); INSERT INTO public.t"
        " SELECT n, md5(n::text) FROM generate_series(1, 20000) n; DELETE FROM public.t WHERE a % 10 > 0;"
        " SELECT pg_stat_force_next_flush(); VACUUM ANALYZE public.t",
        "public.t",
        "warning",
        {"bytes": 100000},
        since=15,
    ),
    Illness(
        "index_bloat",
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 30000);"
        " CREATE UNIQUE INDEX i ON public.t (a); DELETE FROM public.t WHERE a % 10 > 0;"
        " SELECT pg_stat_force_next_flush(); VACUUM ANALYZE public.t",
        "public.i",
        "warning",
        {"bytes": 100000},
        since=15,
    ),
    Illness(
        "unused_index",
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 3000);"
        " CREATE INDEX i ON public.t (a)",
        "public.i",
        "info",
        {"days": 0, "bytes": 8192},
    ),
    Illness(
        "fk_type_mismatch",
        "CREATE TABLE public.p (a bigint PRIMARY KEY);"
        " CREATE TABLE public.c (b int CONSTRAINT k REFERENCES public.p)",
        "public.c.k",
        "warning",
    ),
    Illness(
        "fk_type_mismatch",
        "CREATE TABLE public.p (a int PRIMARY KEY);"
        " CREATE TABLE public.c (b bigint CONSTRAINT k REFERENCES public.p)",
        "public.c.k",
        "info",
    ),
    Illness(
        "no_primary_key",
        f"CREATE TABLE public.t (a int); CREATE UNIQUE INDEX ON public.t (a); {FILLED}",
        "public.t",
        "info",
        cure="ALTER TABLE public.t ADD PRIMARY KEY (a)",
    ),
    Illness(
        "no_primary_key",
        f"CREATE TABLE public.t (a int); {FILLED}; CREATE PUBLICATION {{database}} FOR TABLE public.t",
        "public.t",
        "warning",
        cure="ALTER TABLE public.t ADD PRIMARY KEY (a)",
    ),
    Illness(
        "statistics_missing",
        "CREATE TABLE public.p (a int) PARTITION BY RANGE (a); CREATE TABLE public.t PARTITION OF public.p"
        " FOR VALUES FROM (0) TO (99999); INSERT INTO public.p SELECT generate_series(1, 20000);"
        " ANALYZE public.t",
        "public.p",
        "warning",
        {"days": 0},
    ),
    Illness(
        "statistics_missing",
        "CREATE TABLE public.t (a int, b int) WITH (autovacuum_enabled = off);"
        " INSERT INTO public.t SELECT n, n FROM generate_series(1, 60000) n",
        "public.t",
        "warning",
        {"days": 0},
    ),
    Illness(
        "fk_type_mismatch",
        "CREATE TABLE public.p (a bigint, b bigint, PRIMARY KEY (a, b)); CREATE TABLE public.c (a int, b int,"
        " CONSTRAINT k FOREIGN KEY (a, b) REFERENCES public.p)",
        "public.c.k",
        "warning",
    ),
    Illness(
        "no_primary_key",
        "CREATE TABLE public.t (a int NOT NULL UNIQUE);"
        " CREATE PUBLICATION {database}_s FOR TABLES IN SCHEMA public",
        "public.t",
        "warning",
        since=15,
    ),
    Illness(
        "password_weak",
        "SET password_encryption = 'md5'; CREATE ROLE {database}_r LOGIN PASSWORD 'x';"
        " RESET password_encryption",
        "{database}_r",
        "warning",
        cure="DROP ROLE {database}_r",
    ),
    Illness(
        "password_weak",
        "CREATE ROLE {database}_e LOGIN PASSWORD 'x' VALID UNTIL 'tomorrow'",
        "{database}_e",
        "warning",
        cure="DROP ROLE {database}_e",
    ),
    Illness(
        "statistics_missing",
        f"CREATE TABLE public.t (a int); {FILLED}; ALTER TABLE public.t ADD COLUMN b int DEFAULT 7;"
        " CREATE STATISTICS public.s ON a, b FROM public.t",
        "public.t",
        "warning",
        {"days": 0},
    ),
    Illness(
        "rls_bypassed_by_view",
        "CREATE TABLE public.t (a int); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;"
        " CREATE VIEW public.v AS SELECT * FROM public.t; GRANT SELECT ON public.v TO PUBLIC",
        "public.v",
        "warning",
        since=15,
    ),
    Illness(
        "duplicate_index",
        "CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1); CREATE INDEX one ON public.t (a);"
        " CREATE INDEX two ON public.t (a)",
        "public.two",
        "warning",
        {"bytes": 1},
    ),
    Illness(
        "stale_statistics",
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT n FROM generate_series(1, 20000) n",
        "public.t",
        "warning",
    ),
    Illness(
        "dead_tuples",
        "CREATE TABLE public.t (a int) WITH (autovacuum_enabled = off);"
        " INSERT INTO public.t SELECT n FROM generate_series(1, 200000) n; ANALYZE public.t;"
        " DELETE FROM public.t WHERE a > 9",
        "public.t",
        "high",
    ),
    Illness(
        "role_setting_risk",
        "ALTER DATABASE {database} SET session_replication_role = 'replica'",
        "session_replication_role of DATABASE {database}",
        "high",
    ),
]


def run_all(database, statements):
    """Run statements one by one; those that a query builds too."""
    for part in " ".join(statements.split()).split("; "):
        cursor = database.run(part)
        if cursor.description and cursor.description[0].name == "command":
            for row in cursor.fetchall():
                database.run(row["command"])


def findings(house, check):
    return [one for one in house.run("integrity_check")["findings"] if one["kind"] == check]


def statements_of(remedy):
    """Return the SQL of a remedy: what comes before remarks in brackets and other words."""
    kept = re.sub(r"\([^()]*lock[^()]*\)|\(or [^()]*\)|\(\S+ serves [^()]*\)", "", remedy)
    return [
        one.strip()
        for one in re.findall(
            r"(?:ALTER|ANALYZE|CREATE|DROP|REINDEX|REVOKE|VACUUM|SELECT) [^;]*;", kept
        )
    ]


@pytest.mark.parametrize("illness", ILLNESSES, ids=lambda one: f"{one.check}-{one.object}")
def test_illness_is_found_once_and_cured_by_its_remedy(any_house, illness, flush):
    house = any_house
    house.with_logins = False
    database = house.database
    name = database.name
    if illness.options:
        house.extra = f"[checks.{illness.check}]\n" + "".join(
            f"{key} = {value}\n" for key, value in illness.options.items()
        )
    if database.admin.info.server_version < illness.since * 10000:
        pytest.skip(f"needs PostgreSQL {illness.since}")
    assert findings(house, illness.check) == []
    run_all(database, illness.make.replace("{database}", name))
    flush()
    (found,) = findings(house, illness.check)
    expected = (illness.object.replace("{database}", name), illness.severity)
    assert (found["object"], found["severity"]) == expected
    for statement in [illness.cure] if illness.cure else statements_of(found["remedy"]):
        run_all(database, statement.replace("CONCURRENTLY ", "").replace("{database}", name))
    flush()
    assert findings(house, illness.check) == []


LARGE = "INSERT INTO public.t SELECT n, 1 FROM generate_series(1, 30000) n; ANALYZE public.t"
WELL = [
    ("unused_index", "CREATE TABLE public.t (a int, b int); CREATE INDEX ON public.t (a); " + LARGE,
     {"bytes": 8192, "days": 1}),
    ("statistics_missing", "CREATE TABLE public.t (a int, b int); " + LARGE.partition(";")[0], {"days": 1}),
    ("index_bloat", "CREATE TABLE public.t (a int, b int); CREATE INDEX ON public.t ((make_interval(b)));"
     " CREATE INDEX ON public.t ((ARRAY[b])); CREATE INDEX ON public.t (int4range(b, b + 1)); " + LARGE,
     {"bytes": 100000, "share": 0.3}),
    ("table_bloat", "CREATE TABLE public.t (a int); CREATE TABLE public.e (a int); ANALYZE", {"bytes": 0}),
    ("no_primary_key", ("CREATE TABLE public.t (a int NOT NULL UNIQUE); CREATE PUBLICATION {database} FOR TABLE public.t;"
     " ALTER TABLE public.t REPLICA IDENTITY USING INDEX t_a_key"), {}),
    ("rls_bypassed_by_view", ("CREATE TABLE public.t (a int); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;"
     " CREATE VIEW public.v WITH (security_invoker = T) AS SELECT * FROM public.t; GRANT SELECT ON public.v TO PUBLIC"), {}),
    ("rls_bypassed_by_view", ("CREATE TABLE public.t (a int); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;"
     " CREATE VIEW public.v AS SELECT * FROM public.t; CREATE SCHEMA sereno; CREATE ROLE {database}_r;"
     " GRANT USAGE ON SCHEMA sereno TO {database}_r; GRANT SELECT ON public.v TO {database}_r"), {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "make", "options"), WELL, ids=[f"{one[0]}-{n}" for n, one in enumerate(WELL)]
)
def test_well_object_is_not_found(any_house, check, make, options, flush):
    house, name = any_house, any_house.database.name
    house.with_logins = False
    if "security_invoker" in make and house.database.admin.info.server_version < 150000:
        pytest.skip("needs PostgreSQL 15")
    house.extra = f"[checks.{check}]\n" + "".join(f"{key} = {options[key]}\n" for key in options)
    run_all(house.database, make.replace("{database}", name))
    flush()
    try:
        assert findings(house, check) == []
        (step,) = [one for one in house.run("integrity_check")["steps"] if one["object"] == check]
        assert step["status"] == "done", step["reason"]
    finally:
        if "CREATE ROLE" in make:
            house.database.run(f"DROP OWNED BY {name}_r; DROP ROLE {name}_r")


@pytest.mark.parametrize(
    ("check", "row"),
    [
        ("deadlocks", "deadlocks"),
        ("temp_files", "temp_bytes"),
    ],
)
def test_counter_is_found_by_its_growth_between_two_runs(any_house, check, row, flush, wait):
    house = any_house
    house.with_logins = False
    house.extra = f"[checks.{check}]\nwarning = 5\n"
    run = house.database.run
    run("CREATE TABLE public.t (a int PRIMARY KEY, b int); INSERT INTO public.t VALUES (1), (2)")
    flush()
    first = house.run("integrity_check")
    assert [one["reason"] for one in first["steps"] if one["object"] == check] == [FIRST_LOOK]
    for _ in range(6 if check == "deadlocks" else 1):
        deadlock(house.database, wait) if check == "deadlocks" else run(
            "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT n FROM generate_series(1, 99999) n ORDER BY -n) s"
        )
    flush()
    wait_until = f"SELECT {row} > 0 FROM pg_stat_database WHERE datname = current_database()"
    assert house.database.value(wait_until)
    (found,) = findings(any_house, check)
    assert (found["object"], found["severity"]) == (house.database.name, "warning")
    assert " a day" in found["summary"]


def deadlock(database, wait):
    """Let two sessions lock two rows in opposite order; the second to wait is the victim."""
    with database.connect() as one, database.connect() as other:
        one.execute("SET deadlock_timeout = '10ms'; UPDATE public.t SET b = 1 WHERE a = 1")
        other.execute("SET deadlock_timeout = '1h'; UPDATE public.t SET b = 1 WHERE a = 2")
        behind = threading.Thread(
            target=other.execute, args=("UPDATE public.t SET b = 1 WHERE a = 1",)
        )
        behind.start()
        pid = other.info.backend_pid
        wait(lambda: database.value("SELECT pg_blocking_pids(%s)", pid), what="the first to wait")
        with pytest.raises(psycopg.errors.DeadlockDetected):
            one.execute("UPDATE public.t SET b = 2 WHERE a = 2")
        one.rollback()
        behind.join()


def test_checkpoints_for_want_of_wal_are_found(house):
    house.with_logins = False
    house.extra = "[checks.checkpoints_too_often]\nwarning = 20\n"
    house.run("integrity_check")
    for _ in range(9):
        house.database.run("CREATE TABLE public.t (); DROP TABLE public.t; CHECKPOINT")
    (found,) = findings(house, "checkpoints_too_often")
    assert found["object"] == "max_wal_size"
    assert "max_wal_size = '2048MB'" in found["remedy"]


def test_interrupted_detach_is_found_and_finished(any_house):
    house = any_house
    house.with_logins = False
    run = house.database.run
    run("CREATE TABLE public.p (a int) PARTITION BY LIST (a)")
    run("CREATE TABLE public.one PARTITION OF public.p FOR VALUES IN (1)")
    with house.database.connect() as reader:
        reader.execute("SELECT FROM public.p")
        run("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            run("ALTER TABLE public.p DETACH PARTITION public.one CONCURRENTLY")
        run("RESET statement_timeout")
    (found,) = findings(house, "detach_pending")
    assert (found["object"], found["severity"]) == ("public.one", "high")
    run(found["remedy"])
    assert findings(house, "detach_pending") == []


def test_table_older_than_its_own_limit_is_found_and_frozen(any_house):
    house = any_house
    house.with_logins = False
    house.extra = "[checks.table_wraparound]\nwarning = 0.0005\n"
    run = house.database.run
    run("CREATE TABLE public.t (a int) WITH (autovacuum_freeze_max_age = 100000)")
    assert findings(house, "table_wraparound") == []
    run("DO $$ BEGIN FOR n IN 1..100 LOOP BEGIN INSERT INTO public.t VALUES (1); EXCEPTION WHEN OTHERS THEN END; END LOOP; END $$")  # fmt: skip
    (found,) = findings(house, "table_wraparound")
    assert (found["object"], found["severity"]) == ("public.t", "warning")
    run(found["remedy"].partition(";")[0])
    assert findings(house, "table_wraparound") == []


def test_every_check_has_texts_in_english_and_spanish():
    for name, check in load().items():
        header = check.header
        assert header.title, name
        assert header.es.keys() >= {"title", "summary"}, name
        assert bool(header.remedy) == bool(header.es.get("remedy")), name
        if isinstance(check, SqlCheck):
            assert header.summary, name


def test_templates_name_columns_of_the_query(any_house):
    """A placeholder without a column would be shown as it is."""
    from psycopg import sql

    from checks.check import Header
    from checks.history import added_columns
    from postgres.session import MAINTAIN, open_session

    any_house.with_logins = False
    with open_session(any_house.context().target("main"), MAINTAIN, "test") as session:
        for name, check in load().items():
            if not isinstance(check, SqlCheck):
                continue
            header: Header = check.header
            options = {key: one.default for key, one in header.options.items()}
            query = check._composed(session, options)
            columns = {
                one
                for one, _ in session.columns(sql.SQL("SELECT * FROM ({}) q LIMIT 0").format(query))
            }
            texts = (
                header.summary,
                header.remedy,
                *(header.es.get(key, "") for key in ("summary", "remedy")),
            )
            named = {word for text in texts for word in re.findall(r"\{(\w+)\}", text)}
            assert named - added_columns(header) <= columns, name


def test_toast_table_follows_the_options_of_its_table(house):
    """Autovacuum takes the smaller of the table's option and the server's setting."""
    house.with_logins = False
    house.extra = "[checks.table_wraparound]\nwarning = 0.0005\nmost_findings = 2000\n"
    run = house.database.run
    run("CREATE TABLE public.t (a text) WITH (autovacuum_freeze_max_age = 100000)")
    run("CREATE TABLE public.u (a text) WITH (autovacuum_freeze_max_age = 2000000000)")
    for _ in range(120):
        run("INSERT INTO public.u VALUES ('x')")
    assert house.database.value("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 't'") >= 100
    ran = house.run("integrity_check")
    assert ran["state"] == "finished", ran["reason"]
    found = {
        one["object"]: one["remedy"] for one in ran["findings"] if one["kind"] == "table_wraparound"
    }
    toast = house.database.value("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'public.t'::regclass")  # fmt: skip
    assert found.keys() >= {"public.t", toast}  # and old tables of a server that runs for long
    assert "public.u" not in found
    for name in ("public.t", toast):
        assert found[name].startswith("VACUUM (FREEZE, INDEX_CLEANUP OFF) public.t;")


def test_published_table_in_a_schema_without_usage_fails_no_check(house):
    house.install()
    run, name = house.database.run, house.database.name
    run("CREATE SCHEMA later; CREATE TABLE later.t (a int); REVOKE ALL ON SCHEMA later FROM PUBLIC")
    run(f"CREATE PUBLICATION {name} FOR TABLE later.t")
    (found,) = findings(house, "no_primary_key")
    assert (found["object"], found["severity"]) == ("later.t", "warning")
