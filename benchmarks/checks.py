"""Checks beside what does the same: amcheck beside pg_amcheck, a foreign key beside VALIDATE.

Also the duration of every check on 10,000 tables beside 1,000.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from psycopg import sql

from benchmarks.server import BenchmarkDatabase, options, ratio_columns, servers
from daemon.bootstrap import build_context
from daemon.config.load import load_config
from daemon.demo.cluster import Cluster
from daemon.registry import JOB_NAMES
from daemon.runs.dry_run import run_checks
from domain.task import Scope, Task
from execution.step import Status

SIZES = (1_000, 10_000)
ROWS = 2_000_000
CHECKS_UNIQUE = 170000
CREATE = """
    CREATE EXTENSION amcheck;
    CREATE TABLE t AS SELECT n AS a, md5(n::text) AS b, n % 1000 AS c, random() AS d,
                             repeat('x', 40) AS e FROM generate_series(1, {rows}) n;
    CREATE UNIQUE INDEX ON t (a);
    CREATE INDEX ON t (b);
    CREATE INDEX ON t (c);
    CREATE INDEX ON t (d);
    CREATE TABLE parent AS SELECT n AS id FROM generate_series(1, {parents}) n;
    ALTER TABLE parent ADD PRIMARY KEY (id);
    CREATE TABLE child AS SELECT n AS id, md5(n::text) AS b,
                                 CASE WHEN n % 20 > 0 THEN 1 + n % {parents} END AS parent_id
                          FROM generate_series(1, {rows}) n;
    ALTER TABLE child ADD CONSTRAINT key FOREIGN KEY (parent_id) REFERENCES parent;
    VACUUM ANALYZE
"""
CREATE_SMALL = """
    CREATE TABLE {name} (id int PRIMARY KEY, b text, c int, p int {key});
    CREATE INDEX ON {name} (b);
    CREATE INDEX ON {name} (c);
    CREATE INDEX ON {name} (p);
    INSERT INTO {name} SELECT n, n, n FROM generate_series(1, 20) n
"""
EVERY = '[jobs.corruption_check]\nevery = "1ms"\nbudget = "9h"\n'
TASK = Task("integrity_check", Scope.DATABASE, "main")


def verified(database: BenchmarkDatabase) -> float:
    """Return the seconds of the run of `corruption_check`, without the start of Python."""
    _, runs = database.sereno("now", "corruption_check")
    (run,) = runs
    assert run["state"] == "finished", run
    began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def pg_amcheck(database: BenchmarkDatabase) -> float:
    """Return the seconds of pg_amcheck for the same work; from 17 on that has unique keys too."""
    cluster = database.cluster
    with database.connect() as connection:
        version = connection.info.server_version
    unique = ["--checkunique"] if version >= CHECKS_UNIQUE else []
    began = time.monotonic()
    subprocess.run(
        [cluster.program("pg_amcheck"), "-j2", "--heapallindexed", *unique, "-h", cluster.socket,
         "-p", str(cluster.port), "-U", "postgres", "-d", database.database],
        check=True, capture_output=True,
    )  # fmt: skip
    return time.monotonic() - began


def amcheck_pair(database: BenchmarkDatabase, turn: int) -> tuple[float, float]:
    """Run both in turns."""
    if turn % 2:
        peer = pg_amcheck(database)
        return verified(database), peer
    return verified(database), pg_amcheck(database)


def create_rows(database: BenchmarkDatabase) -> None:
    """Create a table of 500 MB with four indexes, and a child with a foreign key to a parent."""
    rows, parents = sql.Literal(ROWS), sql.Literal(ROWS // 4)
    with database.connect(autocommit=True) as connection:
        for statement in CREATE.split(";"):
            connection.execute(sql.SQL(statement).format(rows=rows, parents=parents))
    database.flush()


def key_seconds(database: BenchmarkDatabase) -> float:
    """Return the seconds of the check of foreign keys, as a step of a run."""
    return durations(database, ["foreign_keys"])["foreign_keys"]


def validation(database: BenchmarkDatabase) -> float:
    """Return the seconds of VALIDATE CONSTRAINT of the same key."""
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE child DROP CONSTRAINT key, ADD CONSTRAINT key FOREIGN KEY (parent_id) "
            "REFERENCES parent NOT VALID"
        )
        began = time.monotonic()
        connection.execute("ALTER TABLE child VALIDATE CONSTRAINT key")
        return time.monotonic() - began


def durations(database: BenchmarkDatabase, names: list[str] | None = None) -> dict[str, float]:
    """Return the seconds of each check."""
    context = build_context(load_config(database.config, JOB_NAMES))
    seconds: dict[str, float] = {}
    for step, outcome, _ in run_checks(context, TASK, names or sorted(context.checks)):
        assert outcome.status is not Status.FAILED, (step.object, outcome.reason)
        seconds[step.object] = outcome.seconds
    return seconds


def create_tables(database: BenchmarkDatabase, tables: int) -> None:
    """Create small tables with four indexes each; every second one has a foreign key."""
    with database.connect(autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(tables):
            name, before = (sql.Identifier(f"t{one}") for one in (number, number - 1))
            key = sql.SQL("REFERENCES {}").format(before) if number % 2 else sql.SQL("")
            connection.execute(sql.SQL(CREATE_SMALL).format(name=name, key=key))
        connection.execute("VACUUM ANALYZE")
    database.flush()


def catalogue_rows(version: int, cluster: Cluster, folder: Path, pairs: int) -> Iterator[str]:
    """Yield a row per size: all checks together, and the slowest."""
    before = 0.0
    for tables in SIZES:
        database = BenchmarkDatabase(cluster, folder, f"tables{tables}")
        create_tables(database, tables)
        runs = [durations(database) for _ in range(pairs)]
        total = statistics.median(sum(one.values()) for one in runs)
        slowest, seconds = max(runs[-1].items(), key=lambda item: item[1])
        ratio = f"{total / before:.1f}" if before else ""
        yield (
            f"| {version} | {tables:,} | {4 * tables:,} | {tables // 2:,} | {total:.2f} | {ratio} "
            f"| {slowest} {seconds:.2f} |"
        )
        before = total


def main() -> None:
    """Print the tables."""
    arguments = options(__doc__)
    print(f"{arguments.pairs} pairs on {os.cpu_count()} cores\n")
    print("| server | work | sereno s | peer s | ratio | spread | goal |")
    print("|---|---|---|---|---|---|---|")
    sizes: list[str] = []
    for version, cluster, folder in servers(arguments):
        rows = BenchmarkDatabase(cluster, folder, "rows", EVERY)
        create_rows(rows)
        amchecks = [amcheck_pair(rows, turn) for turn in range(arguments.pairs)]
        keys = [(key_seconds(rows), validation(rows)) for _ in range(arguments.pairs)]
        for work, pairs in (
            ("corruption_check / pg_amcheck -j2 --heapallindexed", amchecks),
            (f"a key of {ROWS:,} rows / VALIDATE CONSTRAINT", keys),
        ):
            print(f"| {version} | {work} | {ratio_columns(pairs)} | ≤ 1.10 |", flush=True)
        sizes += catalogue_rows(version, cluster, folder, arguments.pairs)
    print("\n| server | tables | indexes | keys | all checks s | ratio (≤ 12) | slowest s (≤ 5) |")
    print("|---|---|---|---|---|---|---|", *sizes, sep="\n")


if __name__ == "__main__":
    main()
