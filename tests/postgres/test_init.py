"""`sereno init` on a real server: what it reads, writes and refuses."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.house import ROOT

HOSTILE = "we \"ird' ñ; DROP"


@pytest.fixture
def prefix(server):
    """Return a new prefix of logins; they are dropped afterwards, with all that they own."""
    made = f"i{uuid.uuid4().hex[:8]}"
    yield made
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        found = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        roles = [name for (name,) in connection.execute(found, [made])]
        names = "SELECT datname FROM pg_database WHERE datallowconn"
        places = [name for (name,) in connection.execute(names)]
    for place in places:
        with psycopg.connect(server.dsn(), dbname=place, autocommit=True) as connection:
            for role in roles:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for role in roles:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def init(tmp_path, database, prefix, *arguments, answers=None, admin=None):
    """Run the command for a database; without answers to its questions, with the defaults."""
    command = [sys.executable, "-m", "daemon", "init", "--admin", admin or database.dsn]
    command += ["--prefix", prefix, "--config", str(tmp_path / "config.toml")]
    command += ["--databases", database.name] if answers is None else []
    command += [] if answers is not None or "--print" in arguments else ["--yes"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, cwd=ROOT, check=False,
        input=answers or "", timeout=60,
    )  # fmt: skip


def make_log(database, owner=""):
    database.run("CREATE TABLE public.audit_log (id bigint PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), t text)")  # fmt: skip
    database.run("CREATE INDEX ON public.audit_log (created_at)")
    database.run("INSERT INTO public.audit_log SELECT n, now() - n * interval '1 hour', repeat('x', 60) FROM generate_series(1, 20000) n")  # fmt: skip
    if owner:
        database.run(f"ALTER TABLE public.audit_log OWNER TO {owner}")
    database.run("ANALYZE public.audit_log")


def test_configuration_logins_and_plan(tmp_path, database, prefix):
    make_log(database)
    done = init(tmp_path, database, prefix)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "config.toml").read_text()
    assert "# public.audit_log: " in text
    prose = text.replace("\n# ", " ")
    assert "indexed timestamptz created_at; nothing refers to it; about 56%" in prose
    assert '#[[jobs.archive.tables]]\n#table = "public.audit_log"' in text
    assert f"{database.name}: schema sereno, {prefix}_maintain, {prefix}_data_superusers" in done.stderr or f"{prefix}_data: ready" in done.stderr  # fmt: skip
    for name in ("maintain", "data"):
        path = tmp_path / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in done.stdout + done.stderr + text
    assert "integrity_check  " in done.stdout
    assert "archive public.audit_log" not in done.stdout
    assert f"sereno check --config {tmp_path}/config.toml" in done.stdout
    assert database.value("SELECT count(*) FROM sereno.owner") == 1


def test_proposal_that_is_turned_on_is_planned(tmp_path, database, prefix):
    make_log(database)
    assert init(tmp_path, database, prefix).returncode == 0
    path = tmp_path / "config.toml"
    text = path.read_text()
    entry = text[text.index("#[[jobs.archive") :].partition("\n#\n")[0].partition("\n\n")[0]
    path.write_text(text.replace(entry, entry.replace("\n#", "\n")[1:]))
    name = next(line for line in text.splitlines() if line.startswith("[databases."))[11:-1]
    for command in (("install", name, "--admin", database.dsn), ("plan", "archive")):
        done = subprocess.run([sys.executable, "-m", "daemon", *command, "--config", path], capture_output=True, text=True, cwd=ROOT, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "archive public.audit_log" in done.stdout


def test_print_changes_nothing(tmp_path, database, prefix):
    make_log(database)
    before = database.rows("SELECT rolname FROM pg_roles ORDER BY 1")
    done = init(tmp_path, database, prefix, "--print")
    assert done.returncode == 0, done.stderr
    assert "[schedules.daily]" in done.stdout
    assert not list(tmp_path.iterdir())
    assert database.rows("SELECT rolname FROM pg_roles ORDER BY 1") == before
    assert database.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'sereno'") == 0


def test_questions_are_asked_again_after_a_wrong_answer(tmp_path, database, prefix):
    make_log(database)
    answers = "\n".join(["nosuch", database.name, "guardia", "guardia@example.org", "", "Mars/Base", "America/La_Paz", "archive", str(tmp_path / "old"), "y"])  # fmt: skip
    done = init(tmp_path, database, prefix, answers=answers + "\n")
    assert done.returncode == 0, done.stderr
    assert "there is no database 'nosuch'" in done.stderr
    assert "'guardia' is neither a mail address" in done.stderr
    assert '"Mars/Base" is not a time zone' in done.stderr
    assert "'archive' is not an absolute folder" in done.stderr
    assert done.stderr.count("[America") + done.stderr.count("Time zone") == 2
    text = (tmp_path / "config.toml").read_text()
    assert 'to = ["guardia@example.org"]' in text
    assert f'#to = "file://{tmp_path}/old"' in text


def test_person_who_does_not_agree_changes_nothing(tmp_path, database, prefix):
    done = init(tmp_path, database, prefix, "--databases", database.name, answers="\n\n\nn\n")
    assert done.returncode == 2
    assert f"in {database.name}: the schema sereno" in done.stderr
    assert "stopped; nothing was changed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_operators_of_an_owner_do_not_run_with_the_rights_of_the_administrator(
    tmp_path, database, prefix
):
    """An owner sets the search_path of its database, and puts operators before the catalog's."""
    role = f"{prefix}_mallory"
    database.run(f"CREATE ROLE {role} CREATEROLE")
    database.run("CREATE SCHEMA evil")
    database.run(f"""
        CREATE TABLE evil.ran (who text); GRANT ALL ON evil.ran TO PUBLIC; GRANT ALL ON SCHEMA evil TO PUBLIC;
        CREATE FUNCTION evil.eq(a "char", b "char") RETURNS bool LANGUAGE plpgsql AS $f$
        BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN a OPERATOR(pg_catalog.=) b; END $f$;
        CREATE OPERATOR evil.= (LEFTARG = "char", RIGHTARG = "char", FUNCTION = evil.eq);
        CREATE FUNCTION evil.eq(a name, b name) RETURNS bool LANGUAGE plpgsql AS $f$
        BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN a OPERATOR(pg_catalog.=) b; END $f$;
        CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.eq);
        ALTER DATABASE {database.name} SET search_path = evil, pg_catalog;
    """)
    done = init(tmp_path, database, prefix)
    assert done.returncode == 0, done.stderr
    assert database.rows("SELECT * FROM evil.ran") == []


def test_port_is_that_of_the_connection(tmp_path, database, prefix):
    """Through a forwarded port the server's own setting leads elsewhere."""
    forward = Forward(database.cluster.port)
    admin = f"host=127.0.0.1 port={forward.port} user=postgres dbname=postgres"
    done = init(tmp_path, database, prefix, "--print", admin=admin)
    forward.close()
    assert done.returncode == 0, done.stderr
    assert f'dsn = "host=127.0.0.1 port={forward.port} ' in done.stdout


class Forward:
    """A TCP port that is forwarded to another one of this machine."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.opened = self.listener.getsockname()[1], port, []
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.opened += [client, server]
                for pair in ((client, server), (server, client)):
                    self.threads.append(threading.Thread(target=self._pass_on, args=pair))
                    self.threads[-1].start()

    @staticmethod
    def _pass_on(one, other):
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.threads:
            one.join(10)
        for one in self.opened:
            one.close()


def test_administrator_without_rights_is_told_before_anything_changes(tmp_path, database, prefix):
    database.run(f"CREATE ROLE {prefix}_dba LOGIN CREATEROLE")
    admin = database.dsn.replace("user=postgres", f"user={prefix}_dba")
    done = init(tmp_path, database, prefix, admin=admin)
    assert done.returncode == 2
    assert "init needs a superuser" in done.stderr
    assert not list(tmp_path.iterdir())


def test_databases_that_cannot_be_read_are_left_out(tmp_path, make_database, server, prefix):
    with make_database(server, f"{prefix} a,b") as database:
        broken = f"{prefix}_broken"
        database.run(f"CREATE DATABASE {broken}")
        database.run(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{broken}'")
        database.run(f"CREATE DATABASE {prefix}_ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")  # fmt: skip
        database.run("CREATE TABLE public.t (a int)")
        try:
            done = init(tmp_path, database, prefix, "--print", answers="", admin=server.dsn())
            assert done.returncode == 0, done.stderr
            assert f"dbname='{prefix} a,b'" in done.stdout
            assert broken not in done.stdout
            assert f"{prefix}_ascii" in done.stdout.partition("[databases.")[0], "it has no table"
        finally:
            database.run(f"UPDATE pg_database SET datconnlimit = -1 WHERE datname = '{broken}'")
            database.run(f"DROP DATABASE {broken}")
            database.run(f"DROP DATABASE {prefix}_ascii")


def test_failure_in_one_database_keeps_no_other_from_being_prepared(
    tmp_path, make_database, server, prefix
):
    with make_database(server) as bad, make_database(server) as good:
        bad.run("CREATE SCHEMA sereno")
        bad.run(f"CREATE ROLE {prefix}_planter")
        bad.run(f"ALTER SCHEMA sereno OWNER TO {prefix}_planter")
        names = ["--databases", f"{bad.name},{good.name}"]
        done = init(tmp_path, bad, prefix, *names, "--yes", answers="", admin=server.dsn())
        assert done.returncode == 2
        assert good.value("SELECT count(*) FROM sereno.owner") == 1
        assert f"when that is mended: sereno install {bad.name} --admin" in done.stderr


def test_end_of_input_is_an_error_that_names_the_way_out(tmp_path, database, prefix):
    done = init(tmp_path, database, prefix, answers="")
    assert done.returncode == 2
    assert "nothing was changed (--yes asks nothing)" in done.stderr
    assert not list(tmp_path.iterdir())


def test_existing_configuration_is_not_touched(tmp_path, database, prefix):
    (tmp_path / "config.toml").write_text("mine")
    done = init(tmp_path, database, prefix)
    assert done.returncode == 2
    assert "config.toml exists" in done.stderr
    assert (tmp_path / "config.toml").read_text() == "mine"


def test_login_of_another_sereno_is_refused_before_anything_changes(tmp_path, database, prefix):
    database.run(f"CREATE ROLE {prefix}_maintain LOGIN PASSWORD 'other'")
    done = init(tmp_path, database, prefix)
    assert done.returncode == 2
    assert f"the role {prefix}_maintain exists" in done.stderr
    assert "--prefix" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("admin", "says"),
    [
        ("host=127.0.0.1 port=1 user=postgres", "is the server running|Connection refused"),
        ("=", "not a connection string"),
        ("host={socket} port={port} user=nosuch dbname=postgres", 'role "nosuch" does not exist'),
    ],
)
def test_administrator_that_cannot_connect(tmp_path, database, prefix, admin, says):
    cluster = database.cluster
    admin = admin.format(socket=cluster.socket, port=cluster.port)
    done = init(tmp_path, database, prefix, admin=admin)
    assert done.returncode == 2
    assert any(one in done.stderr for one in says.split("|")), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--timezone", "Mars/Base", "is not a time zone"),
        ("--alerts", "nobody", "is neither a mail address"),
        ("--archive", "here", "is not an absolute folder"),
        ("--prefix", 'a"b', "must be a-z"),
    ],
)
def test_wrong_option_is_named(tmp_path, database, prefix, option, value, says):
    done = init(tmp_path, database, prefix, option, value)
    assert done.returncode == 2
    assert f"{option}" in done.stderr
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


def test_slack_url_is_kept_in_a_file_of_its_own(tmp_path, database, prefix):
    url = "https://hooks.slack.com/services/T0/B0/c4nary"
    done = init(tmp_path, database, prefix, "--alerts", url)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "slack-url"
    assert (path.read_text().strip(), path.stat().st_mode & 0o777) == (url, 0o600)
    assert "c4nary" not in (tmp_path / "config.toml").read_text() + done.stdout + done.stderr


def test_hostile_names(tmp_path, make_database, server, prefix):
    with make_database(server, HOSTILE) as database:
        database.run('CREATE ROLE "o\'w ner\n"')
        database.run('CREATE TABLE public."log \n""x""" (id int, created_at timestamptz NOT NULL)')
        database.run('CREATE INDEX ON public."log \n""x""" (created_at)')
        database.run('INSERT INTO public."log \n""x""" SELECT n, now() FROM generate_series(1, 60000) n')  # fmt: skip
        database.run('ALTER TABLE public."log \n""x""" OWNER TO "o\'w ner\n"')
        database.run("ANALYZE")
        try:
            done = init(tmp_path, database, prefix, admin=server.dsn())
            assert done.returncode == 0, done.stderr
            assert "integrity_check  " in done.stdout
        finally:
            database.run('DROP TABLE public."log \n""x"""')
            database.run('DROP OWNED BY "o\'w ner\n"')
            database.run('DROP ROLE "o\'w ner\n"')


class Hba:
    """A server of its own whose pg_hba.conf a test writes."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.path = Path(cluster.data) / "pg_hba.conf"

    def write(self, *lines):
        kept = "local all postgres trust\n"
        self.path.write_text(kept + "".join(f"{line}\n" for line in lines))
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        end = time.monotonic() + 10
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as connection:
            while connection.execute("SELECT pg_conf_load_time() < clock_timestamp() - interval '1 s'").fetchone()[0]:  # fmt: skip
                assert time.monotonic() < end


@pytest.fixture
def hba(clusters):
    made = Hba(clusters("embedded", work_mem="5MB"))
    before = made.path.read_text()
    yield made
    made.path.write_text(before)
    with psycopg.connect(made.cluster.dsn(), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")


def test_without_a_rule_for_passwords_the_line_is_printed_and_nothing_changes(
    tmp_path, make_database, hba
):
    prefix = f"i{uuid.uuid4().hex[:8]}"
    with make_database(hba.cluster) as database:
        hba.write("local all all peer", "host all all 127.0.0.1/32 reject", "host all all ::1/128 ident")  # fmt: skip
        done = init(tmp_path, database, prefix)
        assert done.returncode == 3, done.stderr
        line = f"host {database.name} {prefix}_data,{prefix}_maintain 127.0.0.1/32 scram-sha-256"
        assert line in done.stderr
        assert not list(tmp_path.iterdir())

        hba.write(line, "local all all peer", "host all all 127.0.0.1/32 reject")
        done = init(tmp_path, database, prefix)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / "config.toml").read_text()
        assert "takes a password at 127.0.0.1 (scram-sha-256)" in text
        database.run(f"DROP OWNED BY {prefix}_data, {prefix}_maintain")
        database.run(f"DROP ROLE {prefix}_data, {prefix}_maintain")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's name is taken")
def test_root_connects_as_the_system_user_of_a_peer_role(tmp_path, make_database, hba):
    prefix = f"i{uuid.uuid4().hex[:8]}"
    with make_database(hba.cluster) as database:
        database.run("CREATE ROLE daemon SUPERUSER LOGIN")
        try:
            hba.write("local all daemon peer", "host all all 127.0.0.1/32 scram-sha-256")
            cluster = hba.cluster
            admin = f"host={cluster.socket} port={cluster.port} user=daemon dbname=postgres"
            done = init(tmp_path, database, prefix, "--print", admin=admin)
            assert done.returncode == 0, done.stderr
            assert os.geteuid() == 0
            missing = admin.replace("user=daemon", "user=nosuchuser")
            hba.write("local all all peer")
            done = init(tmp_path, database, prefix, "--print", admin=missing)
            assert done.returncode == 2
            assert "Peer authentication failed" in done.stderr
        finally:
            database.run("DROP ROLE daemon")


def test_ten_thousand_tables_take_less_than_half_a_minute(tmp_path, database, prefix):
    database.run("""
        DO $$ BEGIN FOR i IN 1..10000 LOOP
          EXECUTE format('CREATE TABLE public.event_%s (id int, created_at timestamptz)', i);
          IF i % 500 = 0 THEN COMMIT; END IF;
        END LOOP; END $$
    """)
    began = time.monotonic()
    done = init(tmp_path, database, prefix, "--print")
    assert done.returncode == 0, done.stderr
    assert "10000 tables" in done.stdout
    assert time.monotonic() - began < 30
