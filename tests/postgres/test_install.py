"""`sereno install`: logins, privileges, printed script and refusals."""

import re

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from tests.fixtures.secrets import write_secret

TABLES = """
[[jobs.log_cleanup.tables]]
table = 'app."Log"'
column = "at"
keep = "1 day"
"""


@pytest.fixture
def app(any_house):
    owner = f"owner_{any_house.maintain}"
    run = any_house.database.run
    run(f"CREATE ROLE {owner}")
    run("CREATE SCHEMA app")
    for name in ("Log", "Other"):
        run(f'CREATE TABLE app."{name}" (id int, at timestamptz)')
        run(f'ALTER TABLE app."{name}" OWNER TO {owner}')
        run(f"INSERT INTO app.\"{name}\" VALUES (1, now() - interval '9 days')")
    any_house.extra = TABLES
    return any_house


def is_permitted(house, role, statement):
    with house.database.connect(role) as connection:
        try:
            connection.execute(statement)
            connection.rollback()
        except (errors.InsufficientPrivilege, errors.UndefinedTable):
            return False
    return True


def test_logins_have_required_privileges_only(app):
    assert app.install().returncode == 0
    assert app.install().returncode == 0
    assert is_permitted(app, app.data, 'DELETE FROM app."Log"')
    assert is_permitted(app, app.data, 'SELECT FROM app."Other"')
    for statement in ('DELETE FROM app."Other"', 'UPDATE app."Log" SET id = 2', 'INSERT INTO app."Log" VALUES (1)', "UPDATE sereno.owner SET instance_id = 'x'", "CREATE TABLE sereno.x (a int)"):  # fmt: skip
        assert not is_permitted(app, app.data, statement), statement
    assert app.run("log_cleanup")["steps"][0]["rows"] == 1
    done = app.run("analyze")
    assert {(step["object"], step["status"]) for step in done["steps"]} == {
        ('app."Log"', "done"),
        ('app."Other"', "done"),
    }


def test_print_changes_nothing_and_its_script_is_executable(app):
    printed = app.sereno("install", "main", "--admin", app.database.dsn, "--print").stdout
    roles = app.database.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", app.maintain)
    assert roles == []
    assert app.database.value("SELECT to_regnamespace('sereno') IS NULL")
    with app.database.connect() as connection:
        connection.execute(printed)
    assert app.run("log_cleanup")["state"] == "finished"


def test_password_is_sent_as_scram_verifier_only(app):
    write_secret(app.folder / "secret", "hunter2-canary")
    path = app.write()
    text = path.read_text().replace(
        f'"{app.maintain}" }}',
        f'"{app.maintain}", password = {{ file = "{app.folder}/secret" }} }}',
    )
    path.write_text(text)
    app.write = lambda: path
    done = app.install()
    assert "hunter2" not in done.stdout + done.stderr
    printed = app.sereno("install", "main", "--admin", app.database.dsn, "--print").stdout
    assert "hunter2" not in printed
    assert f'-- set its password:  \\password "{app.maintain}"' in printed
    verifier = app.database.value(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", app.maintain
    )
    assert verifier.startswith("SCRAM-SHA-256$")
    assert "hunter2-canary" not in app.database.cluster.log.read_text()


def test_missing_configured_table_is_named_and_nothing_is_created(app):
    app.extra = TABLES.replace("Log", "Logg")
    done = app.sereno("install", "main", "--admin", app.database.dsn, check=False)
    assert done.returncode == 2
    assert 'no table app."Logg"' in done.stderr
    assert app.database.value("SELECT to_regnamespace('sereno') IS NULL")


def test_superuser_login_is_refused(app):
    app.data = "postgres"
    done = app.sereno("install", "main", "--admin", app.database.dsn, check=False)
    assert done.returncode == 2
    assert "superuser" in done.stderr


def test_missing_logins_error_names_configuration_to_add(app):
    app.with_logins = False
    done = app.sereno("install", "main", check=False)
    assert done.returncode == 78
    assert "maintain = {" in done.stderr


def test_role_and_table_names_are_quoted(server, make_database, make_house, tmp_path):
    name = 'we"ird; drop table x --'
    table = sql.Identifier("Ünïcode", name)
    with make_database(server, f"a b {tmp_path.name}") as database:
        house = make_house(tmp_path, database)
        house.maintain = house.maintain + " Mañana"
        database.run('CREATE SCHEMA "Ünïcode"; CREATE TABLE public.x (a int)')
        database.admin.execute(
            sql.SQL("CREATE TABLE {} (id int, {} timestamptz)").format(
                table, sql.Identifier("a\"t'")
            )
        )
        database.admin.execute(
            sql.SQL("INSERT INTO {} VALUES (1, now() - interval '9 days')").format(table)
        )
        house.extra = """
            [[jobs.log_cleanup.tables]]
            table = '"Ünïcode"."we""ird; drop table x --"'
            column = '''"a""t'"'''
            keep = "1 day"
            """
        assert house.install().returncode == 0
        assert house.run("log_cleanup")["steps"][0]["rows"] == 1
        analyzed = house.run("analyze")
        assert {step["object"] for step in analyzed["steps"]} == {
            '"Ünïcode"."we""ird; drop table x --"'
        }
        assert database.value("SELECT to_regclass('public.x') IS NOT NULL")
        assert isinstance(database.admin, psycopg.Connection)


def test_install_into_another_database_than_the_configured_one_is_refused(app, make_database):
    with make_database(app.database.cluster) as other:
        done = app.sereno("install", "main", "--admin", other.dsn, check=False)
        assert done.returncode == 2
        assert f"connects to the database '{other.name}'" in done.stderr
        assert app.database.name in done.stderr
        assert other.value("SELECT to_regnamespace('sereno') IS NULL")


@pytest.mark.parametrize("name", ["Cloud.Admin@example.com", "CloudAdmin", 'we"ird'])
def test_administrator_may_have_any_name(app, name):
    role = sql.Identifier(name + app.maintain)
    app.database.admin.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(role))
    try:
        admin = app.database.cluster.dsn(app.database.name, "x").replace(
            "user=x", "user='" + (name + app.maintain) + "'"
        )
        for _ in range(2):
            assert app.sereno("install", "main", "--admin", admin).returncode == 0
        assert app.run("log_cleanup")["state"] == "finished"
    finally:
        run = app.database.admin.execute
        run(sql.SQL("REASSIGN OWNED BY {} TO postgres").format(role))
        run(sql.SQL("DROP OWNED BY {}").format(role))
        run(sql.SQL("DROP ROLE {}").format(role))


def test_missing_grant_is_named_with_the_statement_that_needs_it(app):
    role = f"admin_{app.maintain}"
    app.database.run(f"CREATE ROLE {role} LOGIN CREATEROLE")
    app.database.run(f"GRANT CREATE ON DATABASE {app.database.name} TO {role}")
    try:
        admin = app.database.cluster.dsn(app.database.name, role)
        done = app.sereno("install", "main", "--admin", admin, check=False)
        assert done.returncode == 2
        assert f"nothing was changed. {role} may not run:" in done.stderr
        assert "may not run:\n  GRANT " in done.stderr
        assert "connect as a superuser" in done.stderr
    finally:
        app.database.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_missing_password_file_is_made_for_its_owner_only(app):
    secret = app.folder / "maintain"
    path = app.write()
    named = f'"{app.maintain}", password = {{ file = "{secret}" }} }}'
    path.write_text(path.read_text().replace(f'"{app.maintain}" }}', named))
    app.write = lambda: path
    check = app.sereno("config", "check", check=False)
    assert (
        check.returncode,
        f"{secret}: No such file or directory (databases.main.maintain.password)" in check.stderr,
    ) == (
        78,
        True,
    )
    printed = app.sereno("install", "main", "--admin", app.database.dsn, "--print")
    assert f'-- set its password:  \\password "{app.maintain}"' in printed.stdout
    assert not secret.exists()
    done = app.install()
    assert f"{secret}: made, with a new password for {app.maintain}" in done.stderr
    assert secret.stat().st_mode & 0o777 == 0o600
    password = secret.read_text()
    assert len(password) > 30
    assert password.strip() not in done.stdout + done.stderr
    assert app.sereno("config", "check").returncode == 0
    app.install()
    assert secret.read_text() == password


def test_administrator_without_superuser_installs_beside_tables_of_a_superuser(app):
    """As on managed services, where an extension's views belong to a superuser."""
    owner, role = f"owner_{app.maintain}", f"admin_{app.maintain}"
    run = app.database.run
    run("CREATE VIEW public.statistics AS SELECT 1 AS calls")
    run(f"CREATE ROLE {role} LOGIN CREATEROLE; GRANT {owner} TO {role}")
    run(f"GRANT CREATE ON DATABASE {app.database.name} TO {role}")
    run(f"ALTER SCHEMA app OWNER TO {owner}")
    granted = ["pg_monitor"]
    if app.database.value("SELECT current_setting('server_version_num')::int") >= 170000:
        granted.append("pg_maintain")
    for one in granted:
        run(f"GRANT {one} TO {role} WITH ADMIN OPTION")
    if len(granted) == 1:
        run(f"GRANT {owner} TO {role} WITH ADMIN OPTION")
    try:
        done = app.sereno(
            "install", "main", "--admin", app.database.cluster.dsn(app.database.name, role)
        )
        assert done.returncode == 0
        assert "only a superuser can grant SELECT on pg_statistic" in " ".join(
            done.stderr.replace("\n--", "").split()
        )
        assert app.run("log_cleanup")["steps"][0]["rows"] == 1
    finally:
        for one in (app.maintain, app.data, role):
            run(f"DROP OWNED BY {one} CASCADE")
        for one in (app.maintain, app.data, role):
            run(f"DROP ROLE {one}")


def test_login_that_cannot_log_in_skips_the_checks_of_rows_only(app):
    app.install()
    app.database.run(f"ALTER ROLE {app.data} NOLOGIN")
    run = app.run("integrity_check")
    steps = {step["object"]: step["status"] for step in run["steps"]}
    assert run["state"] == "finished"
    assert steps["wraparound"] == "done"
    assert steps["foreign_keys"] == "skipped"
    (found,) = [one for one in run["findings"] if one["kind"] == "task_skipped"]
    assert found["severity"] == "warning"
    done = app.sereno("check", check=False)
    assert done.returncode == 2
    assert "not permitted to log in" in done.stdout
    assert re.search(r"Found: .* [0-9]+ checks ran [0-9]+ times, [0-9]+ did not run\.", done.stdout)


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"dbname": "no_such_database"}, "create it (createdb)"),
        ({"user": "no_such_role"}, "as root: user=postgres in --admin"),
        ({"port": "1"}, "correct --admin"),
    ],
)
def test_administrator_who_cannot_connect_gets_a_cure(app, changed, hint):
    admin = make_conninfo(app.database.dsn, **changed)
    done = app.sereno("install", "main", "--admin", admin, check=False)
    assert (done.returncode, hint in done.stderr) == (2, True), done.stderr


def test_password_file_that_exists_is_used_and_a_short_password_is_said(app):
    secret = app.folder / "maintain"
    write_secret(secret, "wrong")
    path = app.write()
    named = f'"{app.maintain}", password = {{ file = "{secret}" }} }}'
    path.write_text(path.read_text().replace(f'"{app.maintain}" }}', named))
    app.write = lambda: path
    done = app.install()
    said = f"{secret}: used as the password of {app.maintain}; it has only 5 characters"
    assert said in done.stderr.replace("\n", " ")
