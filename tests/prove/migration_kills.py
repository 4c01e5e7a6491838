"""Proof that a migration that is killed at any point finishes, with nothing twice or half.

`python -m tests.prove.migration_kills [KILLS]`: SIGKILL when a run has added its 1st, 2nd, … row to the
ledger, and at random, while the migration is applied and rolled back; then it has to finish, and the ledger, the
rows and the index have to be right.
"""

import itertools
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.fixtures.house import ROOT, House
from tests.fixtures.servers import _database
from tests.postgres.migration_folder import PREPARE, Migrating

KILLS = 100
ROWS = 3000
ID = Migrating.ID
LEDGER = ("migration", "migration_run", "migration_step", "migration_batch", "migration_check")
SLOWER = PREPARE | {
    "migration.toml": PREPARE["migration.toml"] + 'pause = 3\ntarget = "5ms"\n',
    "prepare.sql": PREPARE["prepare.sql"] + "SELECT pg_sleep(0.2);",
    "tighten.20.notx.sql": PREPARE["tighten.20.notx.sql"] + "SELECT pg_sleep(0.2);",
}


def ledger_rows(database):
    return sum(database.value(f"SELECT count(*) FROM sereno.{table}") for table in LEDGER)


def state(database):
    rows = database.rows("SELECT state, phase FROM sereno.migration ORDER BY ordinal DESC LIMIT 1")
    return (rows[0]["state"], rows[0]["phase"]) if rows else ("pending", "")


def start(house, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", "migrate", *arguments, "--config", str(house.path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


def killed(migrating, arguments, when):
    """Run a command and kill it when `when` says so; return whether it was still running."""
    process = start(migrating.house, *arguments)
    began = time.monotonic()
    while process.poll() is None and not when(time.monotonic() - began):
        time.sleep(0.002)
    alive = process.poll() is None
    process.kill()
    output = process.communicate()[0]
    if not alive and process.returncode not in {0, 75}:
        raise AssertionError(output)
    return alive


def finish(migrating, *arguments):
    """Run a command until it ends by itself; it may have to wait for a server that goes on."""
    for _ in range(5):
        done = migrating.migrate(*arguments, timeout=120)
        if done.returncode == 0:
            return
        if done.returncode != 75:
            raise AssertionError(done.stdout + done.stderr)
    raise AssertionError(done.stdout + done.stderr)


def applied(migrating):
    database = migrating.database
    found = {
        "state": state(migrating.database),
        "rows": database.value("SELECT count(*) FROM public.new_table"),
        "unfilled": database.value("SELECT count(*) FROM public.users WHERE migrated IS NOT TRUE"),
        "valid": database.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.new_note'::regclass"),
        "validated": database.value("SELECT convalidated FROM pg_constraint WHERE conname = 'users_migrated'"),
        "keys": database.value(
            "SELECT sum(keys)::int FROM sereno.migration_batch WHERE keys > 0 AND ordinal > coalesce("
            "(SELECT max(ordinal) FROM sereno.migration_batch WHERE keys < 0), 0)"
        ),
        "twice": database.value(
            "SELECT count(*) FROM (SELECT FROM (SELECT DISTINCT ON (file, statement, run) * FROM sereno.migration_step) s"
            " WHERE state = 'done' AND statement = 0 AND ordinal > coalesce((SELECT max(ordinal) FROM sereno.migration_step"
            " WHERE state = 'undone'), 0) GROUP BY file HAVING count(*) > 1) d"
        ),
    }  # fmt: skip
    expected = {
        "state": ("waiting_gate", "tighten"), "rows": ROWS, "unfilled": 0, "valid": True,
        "validated": True, "keys": ROWS, "twice": 0,
    }  # fmt: skip
    assert found == expected, found


def undone(migrating):
    database = migrating.database
    assert state(migrating.database) == ("rolled_back", ""), migrating.status()
    assert database.value("SELECT count(*) FROM public.users") == ROWS
    left = database.rows(
        "SELECT relname FROM pg_class WHERE relname IN ('new_table', 'new_note')"
        " UNION ALL SELECT attname FROM pg_attribute WHERE attrelid = 'public.users'::regclass"
        " AND attname = 'migrated' AND NOT attisdropped"
    )
    assert left == [], left


def boundaries(migrating):
    """Kill one apply and one rollback at the 1st, 2nd, … row that each run adds; return the kills."""
    kills = 0
    for first, again, check in (
        (("apply", ID, "--yes"), ("resume", ID), applied),
        (("rollback", ID, "--yes"), ("rollback", ID, "--yes"), undone),
    ):
        arguments = first
        for number in itertools.count(1):  # a run that goes on writes rows of its own first
            until = ledger_rows(migrating.database) + number
            if not killed(
                migrating, arguments, lambda _, last=until: ledger_rows(migrating.database) >= last
            ):
                break
            kills, arguments = kills + 1, again
            if state(migrating.database)[0] in {"waiting_gate", "rolled_back"}:
                break
        if state(migrating.database)[0] not in {"waiting_gate", "rolled_back"}:
            finish(migrating, *again)
        check(migrating)
    print(f"  {kills} kills by rows of the ledger", flush=True)
    return kills


def at_random(migrating, count):
    source, kills = random.Random(20), 0
    while kills < count:
        for first, again, check, end in (
            (("apply", ID, "--yes"), ("resume", ID), applied, "waiting_gate"),
            (("rollback", ID, "--yes"), ("rollback", ID, "--yes"), undone, "rolled_back"),
        ):
            arguments = first
            for _ in range(source.randint(2, 8)):
                seconds = source.uniform(0.5, 3.0)
                if state(migrating.database)[0] == end:
                    break
                kills += killed(migrating, arguments, lambda past, limit=seconds: past > limit)
                if state(migrating.database)[0] not in {"pending", "rolled_back", "waiting_gate"}:
                    arguments = again
            if state(migrating.database)[0] != end:
                finish(migrating, *(again if arguments is again else first))
            check(migrating)
            print(f"  {kills} kills", flush=True)
    return kills


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    with tempfile.TemporaryDirectory(prefix="sereno-kills-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        (place / "server").mkdir(mode=0o755)
        with (
            Cluster(place / "server", embedded_binaries(), {}) as cluster,
            _database(cluster) as database,
        ):
            (place / "house").mkdir(mode=0o755)
            migrating = Migrating(House(place / "house", database), rows=ROWS)
            migrating.write(SLOWER)
            by_boundary = boundaries(migrating)
            by_chance = at_random(migrating, count)
    print(
        f"migration_kills: {by_boundary} at each boundary, {by_chance} at random: nothing twice or half"
    )


if __name__ == "__main__":
    main()
