"""`sereno now vacuum analyze` beside `vacuumdb -j2 -z`: the same dirty tables, in turns.

Prints the median ratio and its spread over the pairs; absolute times depend on the machine.
A server from `--binaries` is added to the embedded one, if its folder exists.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql

from benchmarks.server import Place, compared, options, servers

COMMIT_EVERY = 500
LARGE_BYTES = 200 * 1024**2
ROW_BYTES = 1000


@dataclass(frozen=True)
class Case:
    """Tables, dirty tables, rows, one updated row in `every`; the aimed ratio by major version."""

    name: str
    tables: int
    dirty: int
    rows: int
    every: int
    whole: bool
    """Whether all of our process is timed, or the job alone, by its run record."""
    aims: dict[int, float]
    indexes: tuple[LiteralString, ...] = ()
    """So many more on the first table, and rows of a kilobyte."""


CASES = (
    Case(
        "10,000 tables, 100 dirty: whole process",
        10_000,
        100,
        200,
        1,
        whole=True,
        aims={18: 0.35, 15: 0.10},
    ),
    Case(
        "10,000 tables, 100 dirty: the jobs alone",
        10_000,
        100,
        200,
        1,
        whole=False,
        aims={18: 0.12, 15: 0.04},
    ),
    Case(
        "3,000 tables, all dirty: the job alone",
        3_000,
        3_000,
        200,
        1,
        whole=False,
        aims={18: 1.2, 15: 0.8},
    ),
    Case(
        "10 tables of 200 MB, all dirty, one with 4 indexes: whole process",
        10,
        10,
        LARGE_BYTES // ROW_BYTES,
        4,
        whole=True,
        aims={18: 1.0, 15: 1.0},
        indexes=("w", "w, id", "id, w"),
    ),
)


def make(place: Place, case: Case) -> None:
    """Make the tables of a case."""
    columns = sql.SQL(
        "id int PRIMARY KEY, v int, w int, f text" if case.indexes else "id int PRIMARY KEY, v int"
    )
    with place.connect() as connection:
        for number in range(case.tables):
            name = sql.Identifier(f"t{number}")
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, columns))
            if number % COMMIT_EVERY == 0:
                connection.commit()
        for index in case.indexes:
            connection.execute(sql.SQL("CREATE INDEX ON t0 ({})").format(sql.SQL(index)))
    if not case.indexes:
        fill(place, case)
    place.vacuumdb()


def fill(place: Place, case: Case) -> None:
    """Fill them."""
    values = sql.SQL("n, 0, n, repeat('x', 960)" if case.indexes else "n, 0")
    with place.connect() as connection:
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


def soil(place: Place, case: Case) -> None:
    """Update rows of the dirty tables.

    Large ones are created anew each time: the space freed by the last VACUUM decides where new row
    versions go, and so how much the next VACUUM writes.
    """
    if case.indexes:
        fill(place, case)
    with place.connect() as connection:
        for number in range(case.dirty):
            connection.execute(
                sql.SQL("UPDATE {} SET v = v + 1 WHERE id % {} = 0").format(
                    sql.Identifier(f"t{number}"), sql.Literal(case.every)
                )
            )
            if number % COMMIT_EVERY == 0:
                connection.commit()
    place.settle()


def sereno(place: Place, case: Case) -> float:
    """Return our seconds: of the whole process, or from the records of the runs."""
    seconds, answer = place.sereno("now", "vacuum", "analyze")
    done = [
        step
        for run in answer
        if run["job"] == "vacuum"
        for step in run["steps"]
        if "public." in step["object"]
    ]
    assert len(done) == case.dirty, len(done)
    assert {step["status"] for step in done} == {"done"}
    return seconds if case.whole else sum(_lasted(run) for run in answer)


def _lasted(run: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(run[key]) for key in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def pair(place: Place, case: Case, *, ours_first: bool) -> tuple[float, float]:
    """Return our seconds and the peer's."""
    runners: list[Callable[[], float]] = [lambda: sereno(place, case), place.vacuumdb]
    order = (0, 1) if ours_first else (1, 0)
    seconds = [0.0, 0.0]
    for who in order:
        soil(place, case)
        seconds[who] = runners[who]()
    return seconds[0], seconds[1]


def main() -> None:
    """Print a row a case and server, as Markdown."""
    chosen = options(__doc__)
    print(
        f"{chosen.pairs} pairs on {os.cpu_count()} cores; ratio = sereno / vacuumdb -j2 -z, "
        "below 1 is quicker\n"
    )
    print("| server | case | sereno s | vacuumdb s | ratio | spread | aim |")
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(chosen):
        places: dict[tuple[int, int], Place] = {}
        for case in CASES:
            kind = (case.tables, case.rows)
            if kind not in places:
                places[kind] = Place(cluster, folder, f"bench{case.tables}")
                make(places[kind], case)
            pairs = [
                pair(places[kind], case, ours_first=bool(number % 2))
                for number in range(chosen.pairs)
            ]
            aim = case.aims.get(version, float("nan"))
            print(f"| {version} | {case.name} | {compared(pairs)} | ≤ {aim:.2f} |", flush=True)


if __name__ == "__main__":
    main()
