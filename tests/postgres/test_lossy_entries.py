"""Entries of log_cleanup that would delete the wrong rows or files are refused before they do."""

import pytest

ENTRY = """
[[jobs.log_cleanup.tables]]
table = "{}"
column = "at"
keep = "900 days"
{}
"""
ARCHIVED = """
[[jobs.archive.tables]]
table = "{}"
column = "at"
older_than = "1500 days"
to = "file://{}/archive"
"""


@pytest.fixture
def app(house):
    return house


def refused(house):
    run = house.run("log_cleanup")
    (step,) = run["steps"]
    assert (run["state"], step["status"]) == ("failed", "failed")
    return step["reason"]


@pytest.mark.parametrize(
    ("unit", "factor", "meant"), [("ms", 1, "s"), ("s", 1000, "ms"), ("us", 1000, "ms")]
)
def test_wrong_unit_of_an_epoch_is_refused(app, unit, factor, meant):
    app.database.run("CREATE TABLE public.t (at bigint)")
    app.database.run(
        f"INSERT INTO public.t SELECT (extract(epoch FROM now())::bigint - n * 86400) * {factor}"
        " FROM generate_series(1, 1000) n"
    )
    app.extra = ENTRY.format("public.t", f'epoch = "{unit}"')
    app.install()
    assert f'is it epoch = "{meant}"?' in refused(app)
    app.database.run("INSERT INTO public.t VALUES (0)")
    assert f'is it epoch = "{meant}"?' in refused(app)
    assert app.database.value("SELECT count(*) FROM public.t") == 1001
    app.extra = ENTRY.format("public.t", f'epoch = "{meant}"')
    assert app.run("log_cleanup")["steps"][0]["rows"] in {101, 102}


PARTITIONED = """
    CREATE TABLE public.part (id int, at timestamptz) PARTITION BY RANGE (at);
    CREATE TABLE public.part1 PARTITION OF public.part DEFAULT;
    INSERT INTO public.part SELECT n, now() - n * interval '1 day' FROM generate_series(1, 2000) n
"""


@pytest.mark.parametrize(
    ("cleaned", "archived"), [("public.part", "public.part1"), ("public.part1", "public.part")]
)
def test_rows_of_an_archived_partition_are_not_deleted_before(app, cleaned, archived):
    app.database.run(PARTITIONED)
    app.extra = ENTRY.format(cleaned, "") + ARCHIVED.format(archived, app.folder)
    app.install()
    assert f"its rows are rows of {archived} too" in refused(app)
    assert app.database.value("SELECT count(*) FROM public.part") == 2000
    app.extra = app.extra.replace("900 days", "1600 days")
    assert app.run("log_cleanup")["state"] == "finished"


def test_table_listed_after_the_installation_is_refused_with_the_command(app):
    app.database.run("CREATE TABLE public.t (at timestamptz)")
    app.install()
    app.database.run("CREATE TABLE public.later (at timestamptz); INSERT INTO public.later VALUES ('2001-01-01')")  # fmt: skip
    app.extra = ENTRY.format("public.later", "")
    done = app.sereno("plan", "log_cleanup", check=False)
    assert done.returncode == 1
    assert "run: sereno install main --admin DSN" in done.stdout.replace("\n", " ")
    app.install()
    assert app.run("log_cleanup")["steps"][0]["rows"] == 1


@pytest.mark.parametrize("folder", ["", "/base", "/pg_wal"])
def test_files_of_a_data_directory_are_refused(app, folder):
    app.extra = (
        f'[[jobs.log_cleanup.files]]\npath = "{app.database.cluster.data}{folder}/*"\n'
        'keep = "1 day"\n'
    )
    done = app.sereno("plan", "log_cleanup", "--sql", check=False)
    assert "is the data directory of a server" in done.stdout.replace("\n", " ")
    assert "unlink" not in done.stdout


@pytest.mark.parametrize("severity", ["hihg", "HIGH"])
def test_check_with_an_unknown_severity_is_one_failed_check(app, severity):
    app.with_logins = False
    (app.folder / "checks.d").mkdir()
    (app.folder / "checks.d" / "mine.sql").write_text(
        f"-- title = 'mine'\nSELECT 'a' AS object, 1 AS value, '{severity}' AS severity, 's' AS summary"
    )
    done = app.sereno("check", "mine", check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert f"'{severity}' is not a severity" in done.stdout
    steps = {step["object"]: step["status"] for step in app.run("integrity_check")["steps"]}
    assert (steps["mine"], steps["wraparound"]) == ("failed", "done")


@pytest.mark.parametrize(
    ("header", "columns", "wrong"),
    [
        ("", "'a' AS object", "no column summary"),
        ("", "NULL AS object, 's' AS summary", "whose object is NULL"),
        ("-- summary = 'of {nosuch}'\n", "'a' AS object", "names {nosuch}"),
        ("-- remedy = 'DROP {table}'\n", "'a' AS object, 's' AS summary", "names {table}"),
    ],
)
def test_check_whose_texts_cannot_be_filled_is_one_failed_check(app, header, columns, wrong):
    app.with_logins = False
    (app.folder / "checks.d").mkdir()
    path = app.folder / "checks.d" / "mine.sql"
    path.write_text(f"-- title = 'mine'\n-- reads = 'catalog'\n{header}SELECT {columns}")
    done = app.sereno("check", "mine", check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert wrong in " ".join(done.stdout.split())


def test_declared_pair_of_a_missing_table_is_a_warning(app):
    app.with_logins = False
    app.database.run("CREATE TABLE public.c (id int)")
    app.extra = '[[checks.orphans]]\nchild = "public.c(id)"\nparent = "public.nowhere(id)"\n'
    finding = app.finding("integrity_check", "orphans")
    assert finding["severity"] == "warning"
    assert "does not exist (checks.orphans)" in finding["summary"]


def test_restore_into_another_database_is_refused(app, make_database):
    app.database.run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz)")
    app.database.run("INSERT INTO public.event VALUES (1, now() - interval '5 years')")
    app.extra = ARCHIVED.format("public.event", app.folder)
    app.install()
    assert app.run("archive")["steps"][0]["rows"] == 1
    command = ("archive", "restore", "public.event", "--database", "main", "--privileged", "--yes")
    with make_database(app.database.cluster) as other:
        other.run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz)")
        done = app.sereno(*command, "--admin", other.dsn, check=False)
        assert (done.returncode, "nothing was restored" in done.stderr) == (2, True)
    done = app.sereno(*command, "--admin", app.database.dsn, "--batch", "xyz", check=False)
    assert (done.returncode, "public.event has no batch xyz" in done.stderr) == (2, True)
    assert "1 rows restored" in app.sereno(*command, "--admin", app.database.dsn).stdout


def test_pattern_that_matches_no_table_is_noted_by_plan(app):
    app.with_logins = False
    app.database.run("CREATE TABLE public.t (a int)")
    app.extra = '[jobs.vacuum]\ninclude = ["publik.*", "public.*"]\n'
    out = app.sereno("plan", "vacuum").stdout
    assert "NOTE  jobs.vacuum.include[0]: publik.* matches no table" in out
    assert "include[1]" not in out


def test_inheriting_table_is_cleaned_beside_the_archive_of_its_parent(app):
    app.database.run("CREATE TABLE public.base (id int, at timestamptz)")
    app.database.run("CREATE TABLE public.log () INHERITS (public.base)")
    app.database.run("INSERT INTO public.log VALUES (1, now() - interval '950 days')")
    app.extra = ENTRY.format("public.log", "") + ARCHIVED.format("public.base", app.folder)
    app.install()
    assert app.run("log_cleanup")["steps"][0]["rows"] == 1


def test_nothing_is_deleted_where_no_second_session_is_possible(app):
    app.database.run("CREATE TABLE public.t (at timestamptz)")
    app.database.run("INSERT INTO public.t SELECT '2001-01-01' FROM generate_series(1, 5)")
    app.extra = ENTRY.format("public.t", "")
    app.install()
    app.database.run(f"ALTER ROLE {app.data} CONNECTION LIMIT 1")
    assert "needs a second session of the login" in refused(app)
    assert app.database.value("SELECT count(*) FROM public.t") == 5


def test_unit_beside_a_column_of_time_has_no_effect(app):
    app.database.run("CREATE TABLE public.t (at timestamptz)")
    app.database.run("INSERT INTO public.t VALUES ('2001-01-01')")
    app.extra = ENTRY.format("public.t", 'epoch = "s"')
    app.install()
    assert app.run("log_cleanup")["steps"][0]["rows"] == 1
