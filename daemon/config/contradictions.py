"""Valid settings that contradict each other; each would lose rows or do its work twice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from daemon.config.model import Config
from daemon.config.problem import Problem
from domain.place import may_meet
from domain.units import format_duration

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast", "sereno"})
_PLACE = ("service", "host", "hostaddr", "port", "dbname")
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
    yield from _own_files_deleted(config)
    yield from _repeated_children(config)
    yield from _system_tables(config)
    yield from _one_database_twice(config)
    yield from _web(config)
    yield from _scratch(config)
    for name, options in config.checks.items():
        for number, pair in enumerate(options.pairs):
            if pair.database is not None and not config.may_have(pair.database):
                known = ", ".join(config.databases)
                yield Problem(
                    f"checks.{name}[{number}].database",
                    f"there is no database {pair.database!r} (known: {known})",
                )


def _scratch(config: Config) -> Iterator[Problem]:
    """Yield a scratch server that is, by its address, the one of a database."""
    if config.migrations.scratch is None:
        return
    scratch = _server(config.migrations.scratch)
    for name, database in config.databases.items():
        if _server(database.dsn) == scratch:
            yield Problem(
                "migrations.scratch",
                f"is the server of databases.{name}; a rehearsal needs another one",
            )


def _server(dsn: str) -> tuple[str, ...]:
    """Return the address of a server, as far as a connection string names it."""
    parts = conninfo_to_dict(dsn)
    return tuple(str(parts.get(key) or "") for key in ("service", "host", "hostaddr", "port"))


def _web(config: Config) -> Iterator[Problem]:
    if not config.web.listen:
        return
    if "listen" in config.daemon.model_fields_set and config.daemon.listen:
        yield Problem(
            "web.listen",
            "serves /metrics and /healthz too: remove daemon.listen, or empty one of the two",
        )
    if find_spec("fastapi") is None:
        yield Problem("web.listen", "needs the extra web: pip install 'sereno[web]'")


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
            if cleaned.where is not None and archived.where is not None:
                continue  # perhaps of different rows
            if cleaned.table not in (archived.table, *archived.children, archived.to.table):
                continue
            if _meet(cleaned, archived) and cleaned.keep <= archived.older_than:
                yield Problem(
                    f"jobs.log_cleanup.tables[{number}].keep",
                    f"rows of {cleaned.table} would be deleted before they are archived; make it "
                    f"longer than {format_duration(archived.older_than)} "
                    "(jobs.archive.tables.older_than)",
                )


def _repeated_children(config: Config) -> Iterator[Problem]:
    for number, archived in enumerate(config.job("archive").tables):
        if len({archived.table, *archived.children}) <= len(archived.children):
            yield Problem(
                f"jobs.archive.tables[{number}].children",
                f"lists {archived.table} itself, or a table twice",
            )


def _own_files_deleted(config: Config) -> Iterator[Problem]:
    """Yield rules for files that would delete an archive or the state file."""
    archives = [
        PurePosixPath(one.to.folder) for one in config.job("archive").tables if one.to.folder
    ]
    state = config.daemon.state
    for number, files in enumerate(config.job("log_cleanup").files):
        path, rule = f"jobs.log_cleanup.files[{number}].path", PurePosixPath(files.path)
        for archive in archives:
            if archive in (rule.parent, *rule.parent.parents):
                yield Problem(path, f"{rule.parent} is a folder of the archive {archive}")
        if not isinstance(state, Path):
            continue
        if rule.parent == PurePosixPath(state.parent) and fnmatch(state.name, rule.name):
            yield Problem(path, f"the pattern matches the state file {state}")


def _system_tables(config: Config) -> Iterator[Problem]:
    for job in AGED:
        for number, one in enumerate(config.job(job).tables):
            if one.table.schema in SYSTEM_SCHEMAS:
                yield Problem(
                    f"jobs.{job}.tables[{number}].table",
                    f"{one.table} is a table of the server or of sereno itself",
                )


def _one_database_twice(config: Config) -> Iterator[Problem]:
    seen: dict[tuple[str, ...], str] = {}
    for name, database in config.databases.items():
        if database.discover:
            continue
        parts = conninfo_to_dict(database.dsn)
        place = tuple(str(parts.get(key) or "") for key in _PLACE)
        if not parts.get("dbname"):
            place = (*place, str(parts.get("user") or ""))  # libpq's default
        if place in seen:
            yield Problem(
                f"databases.{name}.dsn",
                f"names the same database as databases.{seen[place]}: its jobs would run twice",
            )
        seen.setdefault(place, name)


def _meet(one: Any, other: Any) -> bool:  # noqa: ANN401 - entries of two jobs
    """Return whether two entries may mean the same database."""
    return may_meet(one.database, other.database)
