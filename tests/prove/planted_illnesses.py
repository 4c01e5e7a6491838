"""Proof that the checks find at least fifty illnesses that exist at once on one server.

Those of the catalogue's tests, each in a schema of its own, and those of older checks and of the
server. Each has to be found exactly once, with its object and severity; before, the server is well:
nothing at warning or above. Argument: a folder of server binaries (the embedded one by default).
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.postgres.checks.test_catalogue import ILLNESSES

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.argv[1]) if sys.argv[1:] else embedded_binaries()
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "archive_mode": "on",
    "max_prepared_transactions": "5",
    "wal_level": "logical",
}
OLDER = [
    ("invalid_index", "{s}.broken", "warning", "CREATE TABLE {s}.t (a int); INSERT INTO {s}.t VALUES (1), (1); CREATE UNIQUE INDEX CONCURRENTLY broken ON {s}.t (a)"),
    ("duplicate_index", "{s}.two", "warning", "CREATE TABLE {s}.t (a int, b text); INSERT INTO {s}.t SELECT n, repeat('x', 400) || n FROM generate_series(1, 40000) n; CREATE INDEX one ON {s}.t (b); CREATE INDEX two ON {s}.t (b)"),
    ("sequence_exhaustion", "{s}.s", "high", "CREATE SEQUENCE {s}.s MAXVALUE 100; SELECT setval('{s}.s', 95)"),
    ("not_valid_constraint", "{s}.t.k", "high", "CREATE TABLE {s}.t (a int); INSERT INTO {s}.t VALUES (-1); ALTER TABLE {s}.t ADD CONSTRAINT k CHECK (a > 0) NOT VALID"),
    ("foreign_keys", "{s}.c.k", "high", "CREATE TABLE {s}.p (a int PRIMARY KEY); CREATE TABLE {s}.c (a int CONSTRAINT k REFERENCES {s}.p); SET session_replication_role = 'replica'; INSERT INTO {s}.c VALUES (7); RESET session_replication_role"),
    ("orphans", "{s}.c(a) -> {s}.p(a)", "high", "CREATE TABLE {s}.p (a int); CREATE TABLE {s}.c (a int); INSERT INTO {s}.c VALUES (7)"),
    ("same_tenant", "{s}.c(a, t) -> {s}.p(a, t)", "critical", "CREATE TABLE {s}.p (a int, t int); CREATE TABLE {s}.c (a int, t int); INSERT INTO {s}.p VALUES (1, 1); INSERT INTO {s}.c VALUES (1, 2)"),
    ("dead_tuples", "{s}.t", "high", "CREATE TABLE {s}.t (a int PRIMARY KEY); INSERT INTO {s}.t SELECT generate_series(1, 150000); DELETE FROM {s}.t WHERE a > 100"),
    ("checks_d", "planted", "warning", ""),
]  # fmt: skip
SERVER = [
    ("slot_retains_wal", "left_behind", "SELECT pg_create_physical_replication_slot('left_behind', true)"),
    ("prepared_transaction", "'Left by mistake'", "BEGIN; CREATE TABLE public.prepared (a int); PREPARE TRANSACTION 'Left by mistake'"),
    ("pending_restart", "track_activity_query_size", "ALTER SYSTEM SET track_activity_query_size = 2048"),
    ("risky_setting", "zero_damaged_pages", "ALTER SYSTEM SET zero_damaged_pages = on"),
    ("risky_setting", "autovacuum", "ALTER SYSTEM SET autovacuum = off"),
    ("autovacuum_settings", "autovacuum_naptime", "ALTER SYSTEM SET autovacuum_naptime = '5min'"),
    ("archiving_fails", "archive_command", "ALTER SYSTEM SET archive_command = 'false'"),
    ("privileged_roles", '"Big boss"', 'CREATE ROLE "Big boss" LOGIN SUPERUSER'),
    ("role_setting_risk", "row_security of ROLE \"Big boss\"", 'ALTER ROLE "Big boss" SET row_security = off'),
]  # fmt: skip
OPTIONS = """
[checks.slot_retains_wal]
bytes = 1
[checks.prepared_transaction]
warning = 0
[checks.archiving_fails]
high = 0
[checks.connections_near_limit]
warning = 0.05
[checks.idle_in_transaction]
warning = 1
[checks.long_transaction]
warning = 1
[checks.xmin_horizon]
warning = 1
"""


def sereno(path, *arguments):
    command = [sys.executable, "-m", "daemon", *arguments, "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def findings(path):
    return json.loads(sereno(path, "check", "--json"))["findings"]


def run_all(connection, statements):
    """Run statements one by one, and those that a query builds."""
    for statement in " ".join(statements.split()).split("; "):
        with contextlib.suppress(psycopg.errors.UniqueViolation):  # of an index that stays invalid
            cursor = connection.execute(statement)
            if cursor.description and cursor.description[0].name == "command":
                for row in cursor.fetchall():
                    connection.execute(row["command"])


def plant(connection, version):
    """Make every illness; return what has to be found, and the options of the checks."""
    expected, options = [], {}
    for number, one in enumerate(ILLNESSES, 1):
        if version < one.since * 10000:
            continue
        schema = f"ill{number:02d}"
        connection.execute(f"CREATE SCHEMA {schema}")
        make = one.make.replace("{database}", "postgres").replace("public.", f"{schema}.")
        make = make.replace("IN SCHEMA public", f"IN SCHEMA {schema}")
        run_all(connection, make)
        name = one.object.replace("{database}", "postgres").replace("public.", f"{schema}.")
        expected.append((one.check, name, one.severity))
        options.setdefault(one.check, {}).update(one.options)
    for number, (check, name, severity, make) in enumerate(OLDER, len(ILLNESSES) + 1):
        schema = f"ill{number:02d}"
        connection.execute(f"CREATE SCHEMA {schema}")
        if make:
            run_all(connection, make.replace("{s}", schema))
        expected.append((check, name and name.replace("{s}", schema), severity))
    for check, name, make in SERVER:
        run_all(connection, make)
        expected.append((check, name, None))
    connection.execute("SELECT pg_reload_conf(), pg_switch_wal()")
    return expected, options


def wait_for_statistics(connection):
    """Wait until the statistics show the failing archiver and the dead rows."""
    shown = (
        "SELECT (SELECT failed_count FROM pg_stat_archiver) > 0"
        " AND (SELECT max(n_dead_tup) FROM pg_stat_user_tables) > 100000 AS shown"
    )
    if connection.info.server_version >= 150000:
        connection.execute("SELECT pg_stat_force_next_flush()")
    ends = time.monotonic() + 60
    while not connection.execute(shown).fetchone()["shown"] and time.monotonic() < ends:
        connection.execute(
            "CREATE TABLE public.more (); SELECT pg_switch_wal(); DROP TABLE public.more"
        )
        time.sleep(1)
    time.sleep(1)  # pg_hba.conf has been read again


def pairs(number):
    return "".join(
        f'[[checks.{check}]]\nchild = "ill{number + place:02d}.c({columns})"\n'
        f'parent = "ill{number + place:02d}.p({columns})"\n'
        for place, (check, columns) in enumerate([("orphans", "a"), ("same_tenant", "a, t")])
    )


def configuration(folder, cluster, options, extra):
    path = folder / "config.toml"
    tables = "".join(
        f"[checks.{check}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for check, values in options.items()
        if values
    )
    path.write_text(
        f'[daemon]\nstate = "{folder}/state.db"\nlisten = ""\nchecks = "{folder}/checks.d"\n'
        f'[databases.main]\ndsn = "{cluster.dsn()}"\n{tables}{extra}'
    )
    return path


def main():
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "checks.d").mkdir()
        cluster = stack.enter_context(Cluster(folder, BINARIES, SETTINGS))
        connection = stack.enter_context(
            psycopg.connect(cluster.dsn(), autocommit=True, row_factory=dict_row)
        )
        version = connection.info.server_version
        connection.execute("ALTER SYSTEM SET archive_command = 'true'")
        connection.execute("SELECT pg_reload_conf()")
        well = [one for one in findings(configuration(folder, cluster, {}, "")) if one["severity"] != "info"]  # fmt: skip
        print(
            f"PostgreSQL {version // 10000}: well: {len(well)} findings at warning or above {well}"
        )
        expected, options = plant(connection, version)
        (folder / "checks.d" / "checks_d.sql").write_text(
            "-- title = 'planted'\n-- reads = 'catalog'\n-- summary = 'x'\n"
            "SELECT 'planted' AS object, 'warning' AS severity"
        )
        idle = stack.enter_context(psycopg.connect(cluster.dsn()))
        idle.execute("SELECT txid_current()")
        pid = f"pid {idle.info.backend_pid}"
        expected += [("idle_in_transaction", pid, None), ("long_transaction", pid, None)]
        expected += [("connections_near_limit", "max_connections", None)]
        with (cluster.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 trust\nhost all all nowhere md55\n")
        lines = len((cluster.data / "pg_hba.conf").read_text().splitlines())
        expected += [("hba_trust", f"line {lines - 1}", "high"), ("hba_broken", f"line {lines}", None)]  # fmt: skip
        connection.execute("SELECT pg_reload_conf()")
        wait_for_statistics(connection)
        extra = OPTIONS + pairs(len(ILLNESSES) + 6)
        found = findings(configuration(folder, cluster, options, extra))
        missing = [one for one in expected if len(matching(found, one)) != 1]
        kinds = len({check for check, _, _ in expected})
        print(
            f"{len(expected)} planted, of {kinds} checks; "
            f"{len(expected) - len(missing)} found exactly once"
        )
        for check, object_, severity in missing:
            same = [(one["object"], one["severity"]) for one in found if one["check"] == check]
            print(f"  {check} {object_} {severity}: {same}")
        named = {(check, object_) for check, object_, _ in expected}
        beside = sorted({f"{one['check']} {one['object']}" for one in found if (one["check"], one["object"]) not in named})  # fmt: skip
        print(f"{len(beside)} further findings about the same schemas: {', '.join(beside)[:1500]}")
        sys.exit(bool(missing or well or len(expected) < 50))


def matching(found, expected):
    check, object_, severity = expected
    return [
        one
        for one in found
        if one["check"] == check
        and (object_ in {None, one["object"]} and (object_ or re.match(r"ill\d+\.", one["object"])))
        and severity in {None, one["severity"]}
    ]


if __name__ == "__main__":
    main()
