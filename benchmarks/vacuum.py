"""Duration of `sereno now vacuum analyze` relative to `vacuumdb -j2 -z` on the same dirty tables.

Prints the median ratio and its spread over alternating pairs; absolute times depend on the machine.
Servers of `--binaries` are measured too if their folder exists.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql

from benchmarks.server import BenchmarkDatabase, options, ratio_columns, servers

COMMIT_EVERY = 500
LARGE_BYTES = 200 * 1024**2
ROW_BYTES = 1000


@dataclass(frozen=True)
class Case:
    """A set of tables, of which some have one row in `every` updated; goals by server version."""

    name: str
    tables: int
    dirty: int
    rows: int
    every: int
    whole_process: bool
    """Whether the whole process is timed, or only the recorded runs."""
    goals: dict[int, float]
    indexes: tuple[LiteralString, ...] = ()
    """Additional indexes of the first table; if any, rows have one kilobyte."""


CASES = (
    Case(
        "10,000 tables, 100 dirty: whole process",
        10_000,
        100,
        200,
        1,
        whole_process=True,
        goals={18: 0.35, 15: 0.10},
    ),
    Case(
        "10,000 tables, 100 dirty: jobs only",
        10_000,
        100,
        200,
        1,
        whole_process=False,
        goals={18: 0.12, 15: 0.04},
    ),
    Case(
        "3,000 tables, all dirty: jobs only",
        3_000,
        3_000,
        200,
        1,
        whole_process=False,
        goals={18: 1.2, 15: 0.8},
    ),
    Case(
        "10 tables of 200 MB, all dirty, one with 4 indexes: whole process",
        10,
        10,
        LARGE_BYTES // ROW_BYTES,
        4,
        whole_process=True,
        goals={18: 1.0, 15: 1.0},
        indexes=("w", "w, id", "id, w"),
    ),
)


def create_tables(database: BenchmarkDatabase, case: Case) -> None:
    """Create the tables of a case."""
    columns = sql.SQL(
        "id int PRIMARY KEY, v int, w int, f text" if case.indexes else "id int PRIMARY KEY, v int"
    )
    with database.connect() as connection:
        for number in range(case.tables):
            name = sql.Identifier(f"t{number}")
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, columns))
            if number % COMMIT_EVERY == 0:
                connection.commit()
        for index in case.indexes:
            connection.execute(sql.SQL("CREATE INDEX ON t0 ({})").format(sql.SQL(index)))
    if not case.indexes:
        fill(database, case)
    database.vacuumdb()


def fill(database: BenchmarkDatabase, case: Case) -> None:
    """Insert the rows of a case."""
    values = sql.SQL("n, 0, n, repeat('x', 960)" if case.indexes else "n, 0")
    with database.connect() as connection:
        for number in range(case.tables):
            name = sql.Identifier(f"t{number}")
            if case.indexes:
                connection.execute(sql.SQL("TRUNCATE {}").format(name))
            connection.execute(
                sql.SQL("INSERT INTO {} SELECT {} FROM generate_series(1, {}) n").format(
                    name, values, sql.Literal(case.rows)
                )
            )
            if number % COMMIT_EVERY == 0:
                connection.commit()


def update_rows(database: BenchmarkDatabase, case: Case) -> None:
    """Update rows of the dirty tables.

    Large tables are refilled each time: the space freed by the last VACUUM determines where new row
    versions are stored, and so how much the next VACUUM writes.
    """
    if case.indexes:
        fill(database, case)
    with database.connect() as connection:
        for number in range(case.dirty):
            connection.execute(
                sql.SQL("UPDATE {} SET v = v + 1 WHERE id % {} = 0").format(
                    sql.Identifier(f"t{number}"), sql.Literal(case.every)
                )
            )
            if number % COMMIT_EVERY == 0:
                connection.commit()
    database.flush()


def run_sereno(database: BenchmarkDatabase, case: Case) -> float:
    """Return the seconds of sereno: of the whole process, or of the recorded runs."""
    seconds, runs = database.sereno("now", "vacuum", "analyze")
    done = [
        step
        for run in runs
        if run["job"] == "vacuum"
        for step in run["steps"]
        if "public." in step["object"]
    ]
    assert len(done) == case.dirty, len(done)
    assert {step["status"] for step in done} == {"done"}
    return seconds if case.whole_process else sum(_duration(run) for run in runs)


def _duration(run: dict[str, Any]) -> float:
    started, ended = (datetime.fromisoformat(run[key]) for key in ("started_at", "finished_at"))
    return (ended - started).total_seconds()


def pair(database: BenchmarkDatabase, case: Case, *, ours_first: bool) -> tuple[float, float]:
    """Return the seconds of sereno and of vacuumdb."""
    runners: list[Callable[[], float]] = [lambda: run_sereno(database, case), database.vacuumdb]
    order = (0, 1) if ours_first else (1, 0)
    seconds = [0.0, 0.0]
    for index in order:
        update_rows(database, case)
        seconds[index] = runners[index]()
    return seconds[0], seconds[1]


def main() -> None:
    """Print a Markdown row per case and server."""
    arguments = options(__doc__)
    print(
        f"{arguments.pairs} pairs on {os.cpu_count()} cores; ratio = sereno / vacuumdb -j2 -z, "
        "below 1 sereno is faster\n"
    )
    print("| server | case | sereno s | vacuumdb s | ratio | spread | goal |")
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(arguments):
        databases: dict[tuple[int, int], BenchmarkDatabase] = {}
        for case in CASES:
            kind = (case.tables, case.rows)
            if kind not in databases:
                databases[kind] = BenchmarkDatabase(cluster, folder, f"bench{case.tables}")
                create_tables(databases[kind], case)
            pairs = [
                pair(databases[kind], case, ours_first=bool(number % 2))
                for number in range(arguments.pairs)
            ]
            goal = case.goals.get(version, float("nan"))
            print(
                f"| {version} | {case.name} | {ratio_columns(pairs)} | ≤ {goal:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
