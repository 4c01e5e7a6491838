"""Duration of `sereno plan vacuum analyze` for 1,000 and for 10,000 tables with three indexes each.

Prints the seconds of the whole process and of the planning alone, with the ratio of the two sizes.
"""

import os
import statistics
import time

from psycopg import sql

from benchmarks.server import Place, options, servers
from daemon.bootstrap import build_context
from daemon.config.load import load_config
from daemon.registry import JOB_NAMES
from daemon.runs.dry_run import plan_task
from daemon.scheduling.tasks import tasks_of

SIZES = (1_000, 10_000)
COMMIT_EVERY = 500
ROWS = 50
JOBS_PLANNED = ("vacuum", "analyze")


def make(place: Place, tables: int) -> None:
    """Make tables of a few rows; one in ten has since been changed."""
    with place.connect() as connection:
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
    place.vacuumdb()
    with place.connect() as connection:
        for number in range(0, tables, 10):
            name = sql.Identifier(f"t{number}")
            for _ in range(4):
                connection.execute(sql.SQL("UPDATE {} SET v = v + 1").format(name))
    place.settle()


def alone(place: Place) -> float:
    """Return the seconds that the plans take inside a process that runs already."""
    context = build_context(load_config(place.config, JOB_NAMES))
    began = time.monotonic()
    planned = [
        step for task in tasks_of(context, JOBS_PLANNED) for step in plan_task(context, task)
    ]
    seconds = time.monotonic() - began
    assert planned
    return seconds


def main() -> None:
    """Print a row a server, as Markdown."""
    chosen = options(__doc__)
    print(
        f"{chosen.pairs} times on {os.cpu_count()} cores, medians; aims: 12 times as long at "
        "the most, below 2 s\n"
    )
    print("| server | tables | indexes | whole process s | plan alone s | ratio |")
    print("|---|---|---|---|---|---|")
    for version, cluster, folder in servers(chosen):
        before = 0.0
        for tables in SIZES:
            place = Place(cluster, folder, f"plan{tables}")
            make(place, tables)
            whole = statistics.median(
                place.sereno("plan", *JOBS_PLANNED)[0] for _ in range(chosen.pairs)
            )
            plans = statistics.median(alone(place) for _ in range(chosen.pairs))
            ratio = f"{plans / before:.1f}" if before else ""
            print(
                (
                    f"| {version} | {tables:,} | {3 * tables:,} | {whole:.2f} | {plans:.3f} | "
                    f"{ratio} |"
                ),
                flush=True,
            )
            before = plans


if __name__ == "__main__":
    main()
