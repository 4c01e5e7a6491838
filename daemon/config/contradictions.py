"""Valid settings that contradict each other; each would lose rows or do its work twice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from daemon.config.model import Config
from daemon.config.problem import Problem
from domain.units import format_duration

AGED = ("log_cleanup", "archive")
"""The jobs that remove rows of listed tables."""


def contradictions(config: Config) -> Iterator[Problem]:
    """Yield a problem per contradiction."""
    for name, schedule in config.schedules.items():
        for job, count in Counter(schedule.jobs).items():
            if count > 1:
                yield Problem(f"schedules.{name}.jobs", f"{job!r} is listed {count} times")
    for job in AGED:
        yield from _listed_twice(job, config.job(job).tables)
    yield from _deleted_before_archived(config)
    for name, options in config.checks.items():
        for number, pair in enumerate(options.pairs):
            if pair.database is not None and pair.database not in config.databases:
                known = ", ".join(config.databases)
                yield Problem(
                    f"checks.{name}[{number}].database",
                    f"there is no database {pair.database!r} (known: {known})",
                )


def _listed_twice(job: str, tables: Sequence[Any]) -> Iterator[Problem]:
    for (first, one), (second, other) in combinations(enumerate(tables), 2):
        same = (one.table, one.column) == (other.table, other.column) and _meet(one, other)
        if same and one.where is None and other.where is None:
            yield Problem(
                f"jobs.{job}.tables[{second}]",
                f"{other.table} is listed already in tables[{first}]; give both a `where`, or "
                "remove one",
            )


def _deleted_before_archived(config: Config) -> Iterator[Problem]:
    for number, cleaned in enumerate(config.job("log_cleanup").tables):
        for archived in config.job("archive").tables:
            if cleaned.table not in (archived.table, *archived.children):
                continue
            if _meet(cleaned, archived) and cleaned.keep <= archived.older_than:
                yield Problem(
                    f"jobs.log_cleanup.tables[{number}].keep",
                    f"rows of {cleaned.table} would be deleted before they are archived; make it "
                    f"longer than {format_duration(archived.older_than)} "
                    "(jobs.archive.tables.older_than)",
                )


def _meet(one: Any, other: Any) -> bool:  # noqa: ANN401 - entries of two jobs
    """Return whether two entries may mean the same database."""
    return None in {one.database, other.database} or one.database == other.database
