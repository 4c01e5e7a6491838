"""Duration of `sereno plan vacuum analyze` for 1,000 and for 10,000 tables with three indexes each.

Prints the seconds of the whole process and of planning, and the ratio between both sizes.
"""

import os
import statistics
import time

from psycopg import sql

from benchmarks.server import BenchmarkDatabase, options, servers
from daemon.bootstrap import build_context
from daemon.config.load import load_config
from daemon.registry import JOB_NAMES
from daemon.runs.dry_run import plan_task
from daemon.scheduling.tasks import tasks_of

SIZES = (1_000, 10_000)
COMMIT_EVERY = 500
ROWS = 50
JOBS_PLANNED = ("vacuum", "analyze")


def create_tables(database: BenchmarkDatabase, tables: int) -> None:
    """Create small tables; one in ten is updated after its last VACUUM."""
    with database.connect() as connection:
        for number in range(tables):
            name = sql.Identifier(f"t{number}")
            connection.execute(
                sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, v int, w text)").format(name)
            )
            connection.execute(sql.SQL("CREATE INDEX ON {} (v)").format(name))
            connection.execute(sql.SQL("CREATE INDEX ON {} (w)").format(name))
            connection.execute(
                sql.SQL("INSERT INTO {} SELECT n, n, n FROM generate_series(1, {}) n").format(
                    name, sql.Literal(ROWS)
                )
            )
            if number % COMMIT_EVERY == 0:
                connection.commit()
    database.vacuumdb()
    with database.connect() as connection:
        for number in range(0, tables, 10):
            name = sql.Identifier(f"t{number}")
            for _ in range(4):
                connection.execute(sql.SQL("UPDATE {} SET v = v + 1").format(name))
    database.flush()


def plan_seconds(database: BenchmarkDatabase) -> float:
    """Return the seconds of planning within this process."""
    context = build_context(load_config(database.config, JOB_NAMES))
    started = time.monotonic()
    planned = [
        step for task in tasks_of(context, JOBS_PLANNED) for step in plan_task(context, task)
    ]
    seconds = time.monotonic() - started
    assert planned
    return seconds


def main() -> None:
    """Print a Markdown row per server and size."""
    arguments = options(__doc__)
    print(
        f"{arguments.pairs} repetitions on {os.cpu_count()} cores, medians; goals: ratio below 12, "
        "planning below 2 s\n"
    )
    print("| server | tables | indexes | whole process s | planning s | ratio |")
    print("|---|---|---|---|---|---|")
    for version, cluster, folder in servers(arguments):
        previous = 0.0
        for tables in SIZES:
            database = BenchmarkDatabase(cluster, folder, f"plan{tables}")
            create_tables(database, tables)
            process = statistics.median(
                database.sereno("plan", *JOBS_PLANNED)[0] for _ in range(arguments.pairs)
            )
            planning = statistics.median(plan_seconds(database) for _ in range(arguments.pairs))
            ratio = f"{planning / previous:.1f}" if previous else ""
            print(
                (
                    f"| {version} | {tables:,} | {3 * tables:,} | {process:.2f} | {planning:.3f} | "
                    f"{ratio} |"
                ),
                flush=True,
            )
            previous = planning


if __name__ == "__main__":
    main()
