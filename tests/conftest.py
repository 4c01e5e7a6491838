"""Real servers for every test, a database of its own for each, and a house (configuration, store, runner) in it."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from psycopg.rows import dict_row

from daemon.demo.cluster import Cluster, embedded_binaries

ROOT = Path(__file__).parents[1]
settings.register_profile(
    "sereno", deadline=None
)  # machines are shared: a slow example is no failure
settings.load_profile("sereno")
OLDEST = 14


def _installations():
    """Return the embedded server; with SERENO_TEST_MATRIX also every other one from 14 on that is installed."""
    found = {"embedded": embedded_binaries()}
    if not os.environ.get("SERENO_TEST_MATRIX"):
        return found
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/pgsql").glob("*/bin")]
    extra = os.environ.get("SERENO_TEST_BINARIES", "")
    folders += [Path(folder) for folder in extra.split(os.pathsep) if folder]
    for folder in sorted(folders):
        if not (folder / "initdb").exists():
            continue
        version = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        major = int(version.split()[2].split(".")[0].split("beta")[0])
        if major >= OLDEST:
            found.setdefault(f"pg{major}", folder)
    return found


INSTALLATIONS = _installations()


def pytest_generate_tests(metafunc):
    """A test that takes `any_server` runs on each of them; one that takes `server` on the embedded one."""
    if "any_server" in metafunc.fixturenames:
        metafunc.parametrize("any_server", list(INSTALLATIONS), indirect=True, scope="session")


@pytest.fixture(scope="session")
def scratch():
    folder = Path(tempfile.mkdtemp(prefix="sereno-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def clusters(scratch):
    """Servers by name, started when they are first asked for."""
    running = {}

    def get(name, **settings):
        key = (name, tuple(sorted(settings.items())))
        if key not in running:
            folder = scratch / f"{name}-{len(running)}"
            folder.mkdir(mode=0o755)
            wanted = {
                "autovacuum": "off",
                "log_statement": "all",
                "log_line_prefix": "%m [%p] %a|%u|%d ",
                **settings,
            }
            running[key] = Cluster(folder, INSTALLATIONS[name], wanted).create().start()
        return running[key]

    yield get
    for cluster in running.values():
        cluster.stop("immediate")


@pytest.fixture(scope="session")
def server(clusters):
    return clusters("embedded")


@pytest.fixture(scope="session")
def any_server(request, clusters):
    return clusters(request.param)


class Database:
    """A database of one test, with a connection of the superuser's."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.dsn = cluster.dsn(name)
        self.admin = psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row)

    def run(self, statement, *parameters):
        return self.admin.execute(statement, parameters or None)

    def rows(self, statement, *parameters):
        return self.run(statement, *parameters).fetchall()

    def value(self, statement, *parameters):
        row = self.run(statement, *parameters).fetchone()
        return next(iter(row.values()))

    @contextmanager
    def connect(self, user="postgres", *, autocommit=False, **options):
        dsn = self.cluster.dsn(self.name, user)
        with psycopg.connect(
            dsn, autocommit=autocommit, row_factory=dict_row, **options
        ) as connection:
            yield connection


@contextmanager
def _database(cluster, name=None):
    name = name or f"t_{uuid.uuid4().hex[:12]}"
    identifier = sql.Identifier(name)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
    database = Database(cluster, name)
    try:
        yield database
    finally:
        database.admin.close()
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def database(server):
    with _database(server) as made:
        yield made


@pytest.fixture
def any_database(any_server):
    with _database(any_server) as made:
        yield made


@pytest.fixture
def flush(any_database):
    """Let what was changed be counted now: the server reports it a second later."""

    def now():
        new = any_database.admin.info.server_version >= 150000
        any_database.run("SELECT pg_stat_force_next_flush()" if new else "SELECT pg_sleep(1)")

    return now


@pytest.fixture
def make_database():
    return _database


CONFIG = """
[daemon]
name = "test"
timezone = "America/La_Paz"
state = "{state}"
checks = "{checks}"
listen = "{listen}"

[databases.main]
dsn = "{dsn}"
{logins}
[schedules.daily]
cron = "0 2 * * *"
jobs = ["log_cleanup", "analyze", "disk_check", "integrity_check"]
"""
LOGINS = 'maintain = {{ user = "{maintain}" }}\ndata = {{ user = "{data}" }}\n'


class House:
    """A configuration on disk, and what is built from it."""

    def __init__(self, folder, database):
        self.folder = folder
        self.database = database
        self.path = folder / "config.toml"
        suffix = uuid.uuid4().hex[:8]
        self.maintain, self.data = f"maintain_{suffix}", f"data_{suffix}"
        self.with_logins = True
        self.extra = ""
        self.listen = ""
        self.channels = {}

    def write(self):
        logins = LOGINS.format(maintain=self.maintain, data=self.data) if self.with_logins else ""
        dsn = f"host={self.database.cluster.socket} port={self.database.cluster.port} dbname='{self.database.name}'"
        if not self.with_logins:
            dsn += " user=postgres"
        text = CONFIG.format(
            state=self.folder / "state.db",
            checks=self.folder / "checks.d",
            listen=self.listen,
            dsn=dsn,
            logins=logins,
        )
        self.path.write_text(text + self.extra)
        return self.path

    def context(self):
        from daemon.bootstrap import build_context
        from daemon.config.load import load_config
        from daemon.registry import JOB_NAMES

        return build_context(load_config(self.write(), JOB_NAMES))

    def install(self):
        return self.sereno("install", "main", "--admin", self.database.dsn)

    def sereno(self, *arguments, check=True, timeout=60, **options):
        """Run the command line in a process of its own."""
        self.write()
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *arguments, "--config", str(self.path)],
            capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, **options,
        )  # fmt: skip
        if check and done.returncode not in {0, 1}:
            raise AssertionError(
                f"sereno {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def start(self, *arguments):
        self.write()
        return subprocess.Popen(
            [sys.executable, "-m", "daemon", *arguments, "--config", str(self.path)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        )  # fmt: skip

    def run(self, job, scope=None, window=None, progress=None, context=None):
        """Run one job in this process; return the run as the history has it, with its steps and findings."""
        from daemon.history import history
        from daemon.runs.runner import Runner
        from domain.task import Scope, Task
        from execution.progress import NoProgress
        from execution.window import open_window

        context = context or self.context()
        scope = scope or context.jobs[job].scopes[0]
        place = "main" if scope is Scope.DATABASE else ""
        runner = Runner(context, progress or NoProgress())
        ran = runner.run(Task(job, scope, place), window or open_window(None))
        with context.store.reading() as transaction:
            row = history.load_run(transaction, ran.number)
            return {
                **row,
                "steps": history.load_steps(transaction, ran.number),
                "findings": history.load_findings(transaction, ran.number),
            }

    def plan(self, job):
        """Return the steps that would be run now."""
        from daemon.runs import dry_run
        from domain.task import Task

        return dry_run.plan_task(
            self.context(), Task(job, self.context().jobs[job].scopes[0], "main")
        )

    def scope(self, name):
        from domain.task import Scope

        return Scope(name)

    def finding(self, job, kind):
        """Run a job and return its only finding of a kind."""
        found = [row for row in self.run(job)["findings"] if row["kind"] == kind]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def house(tmp_path, database):
    return House(tmp_path, database)


@pytest.fixture
def any_house(tmp_path, any_database):
    return House(tmp_path, any_database)


@pytest.fixture
def few_attempts(monkeypatch):
    """What is locked is tried again sooner, and not as often."""
    from execution import control

    monkeypatch.setattr(control, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(control, "MOST_ATTEMPTS", 2)


@pytest.fixture
def make_house():
    return House


@pytest.fixture
def table():
    """Make a table as the jobs see it: nothing due but for what is given."""
    from jobs.table_statistics import Table
    from postgres.identifiers import Relation

    def make(name, **changes):
        values = {
            "oid": hash(name), "system": False, "partitioned": False, "root": None, "unknown": False, "modified": 0,
            "dead": 0, "inserted": 0, "toast_dead": 0, "toast_inserted": 0, "age": 0, "members": 0, "recent": False, "analyzed_ago": None, "tuples": 1000.0, "failing": False, "worker": None,
            "analyze_threshold": 60.0, "dead_threshold": 100.0, "inserted_threshold": 1000.0, "toast_threshold": 50.0, "toast_inserted_threshold": None,
            "age_limit": 150e6, "members_limit": 150e6, "changes": 0, "bytes": 8192, "dead_bytes": 0, "allowed": True,
        }  # fmt: skip
        return Table(relation=Relation("public", name), **(values | changes))

    return make


class Endpoint:
    """A real HTTP server that keeps each request and answers what the test tells it to.

    `answer` is (status, headers, body), or a function of (number, request) that returns it; None drops the line.
    """

    def __init__(self, answer=None):
        if isinstance(answer, tuple):
            constant = answer
            answer = lambda *_: constant  # noqa: E731 - the same each time
        self.requests = []
        self.answer = answer or (
            lambda number, _request: (
                200,
                {},
                b'{"ok": true, "channel": "C9", "ts": "1.%d", "key": "T-%d"}' % (number, number),
            )
        )
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self._serve()

            do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815 - http.server's own names

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                request = {
                    "path": self.path,
                    "method": self.command,
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                    "body": body,
                }
                endpoint.requests.append(request)
                answer = endpoint.answer(len(endpoint.requests), request)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(content)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint():
    made = []

    def make(answer=None):
        made.append(Endpoint(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def notify():
    """Make a notification, as the outbox hands it to a channel; `message` may have changes."""
    from alerts.alert import Message, Notification, Reason
    from domain.finding import Severity

    def make(number="n0123", thread="", *, again=False, **message):
        values = {
            "instance": "coop", "severity": Severity.HIGH, "reason": Reason.OPENED, "kind": "orphans",
            "type": "MAINTENANCE_FAILURE", "title": "orphans: x", "summary": "7 rows", "database": "main", "object": "x",
            "remedy": "mend", "occurred_at": datetime.now(UTC),
        }  # fmt: skip
        return Notification(
            number,
            "c",
            Message(**(values | message)),
            datetime.now(UTC),
            attempts=1,
            thread=thread,
            again=again,
        )

    return make


@pytest.fixture
def wait():
    """Wait until something holds, for a bounded time; never sleep for luck."""

    def until(condition, seconds=15.0, what="it"):
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come about in {seconds} s")
            time.sleep(0.02)

    return until
