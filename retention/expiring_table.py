"""A configured table as the server has it.

Its age column, its walk, and what forbids its rows to leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from execution.errors import first_line
from postgres.fencing.ownership import is_installed_table
from postgres.fencing.trust_domain import TrustDomain, hidden_rows, statement_reason
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import MAINTAIN, Login, Session
from postgres.statement_file import read_statement
from retention.partitions import detach, expired
from retention.partitions.expired import Partition
from retention.rows import dependents, tamper_check
from retention.rows.dependents import Dependents
from retention.rows.row_batches import ExpiredRows

_TABLE = read_statement("retention", "expiring_table")
_ESTIMATE = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {table} c WHERE {due}")
_SELECTED = sql.SQL("SELECT FROM {table} c WHERE {due}")
_VERSIONS = sql.SQL(
    "SELECT coalesce(bool_and(substr({column}::text, 15, 1) = '7'), true) AS seventh"
    " FROM (SELECT {column} FROM {table} LIMIT 1000) s"
)
_SAMPLE = sql.SQL(
    """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY {column}) AS middle
    FROM (SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1000) s
    """
)
_PLAUSIBLE = (631_152_000, 4_102_444_800)
"""The years 1990 to 2100, in seconds since 1970."""
NO_RECORD = (
    "sereno.detached_partition is missing or was changed; run: sereno install {} --admin DSN"
)
STRANDED = (
    'detached but not yet archived or dropped; set partitions = "detach" or "drop" again to '
    "finish it"
)
TIMES = frozenset({"date", "timestamp", "timestamptz"})
INTEGERS = frozenset({"int4", "int8"})
EPOCHS = {"s": 1, "ms": 1000, "us": 1000000}


@dataclass(frozen=True, slots=True)
class TableRequest:
    """Rows of a table that leave when `column` is older than `age`.

    `epoch` is the unit of integers.
    """

    table: Relation
    column: str
    age: timedelta
    epoch: str | None = None
    where: sql.SQL | None = None
    """An SQL condition from the configuration."""
    children: tuple[Relation, ...] = ()
    """Tables whose rows leave with the rows that they refer to."""
    whole: bool = False
    """Whether whole partitions leave; then no single row of a partitioned table does."""


@dataclass(frozen=True, slots=True)
class ExpiringTable:
    """The state of a configured table; `wrong` says why nothing may leave it."""

    request: TableRequest
    wrong: str = ""
    some: bool = False
    bytes: int = 0
    """Estimated bytes that leave; 0 if the table was never analyzed."""
    expired: ExpiredRows | None = None
    keyed: bool = False
    partitions: Sequence[Partition] = ()
    """The partitions that leave as a whole, and those whose detach was interrupted."""
    dependents: Dependents | None = None
    """The dependent tables, and what forbids their rows to leave."""
    columns: ColumnTypes = ()
    """All columns except generated ones."""
    login: Login = MAINTAIN
    """The login that works on its rows."""


def read_table(session: Session, request: TableRequest, owners: frozenset[str]) -> ExpiringTable:
    """Read one table without locking it; its problems do not affect other tables.

    `owners` are those of the session's trust domain.
    """
    try:
        return _looked_at(session, request, owners)
    except psycopg.errors.QueryCanceled:
        raise
    except psycopg.Error as error:
        return ExpiringTable(request, wrong=first_line(error))


def add_partitions(source: ExpiringTable, session: Session, instance: str) -> ExpiringTable:
    """Add the partitions, as a login that may read them; interrupted ones first.

    If single rows leave now, an interrupted detach is reported with its cure.
    """
    whole = source.request.whole
    if source.expired is None or source.wrong:
        return source
    if not is_installed_table(session, detach.TABLE):
        if whole:
            return replace(source, wrong=NO_RECORD.format(session.target.name))
        return source
    try:
        begun = detach.unfinished_detaches(session, source.expired, instance)
        known = {part.oid for part in begun}
        others = (
            [
                part
                for part in expired.expired_partitions(session, source.expired)
                if part.oid not in known
            ]
            if whole
            else []
        )
    except psycopg.Error as error:
        return ExpiringTable(source.request, wrong=first_line(error))
    if not whole:
        begun = [replace(part, wrong=STRANDED) for part in begun]
    return replace(source, partitions=(*begun, *others))


def _looked_at(session: Session, request: TableRequest, owners: frozenset[str]) -> ExpiringTable:
    place = {"schema": request.table.schema, "name": request.table.name}
    tables = (request.table, *request.children)
    found = session.rows(_TABLE, {**place, "column": request.column, "age": request.age})
    wrong = _wrong(request, found) or _unreachable(session, found[0], tables, owners)
    if wrong:
        return ExpiringTable(request, wrong=wrong)
    row = found[0]
    partitioned = row["kind"] == "p"
    found_children = None
    if not (request.whole and partitioned):
        found_children = dependents.read_dependents(session, request.table, request.children)
        if found_children.wrong:
            return ExpiringTable(request, wrong=found_children.wrong)
    expired = _expired_rows(session, request, row, owners)
    if wrong := _wrong_rows(session, expired):
        return ExpiringTable(request, wrong=wrong)
    source = ExpiringTable(
        request,
        expired=expired,
        keyed=row["keyed"],
        columns=tuple(map(tuple, row["columns"])),
        dependents=found_children,
    )
    if found_children is None or not expired.some(session):
        return source
    return _estimated(session, source, row["bytes_a_row"] or 0)


def _expired_rows(
    session: Session, request: TableRequest, row: dict[str, Any], owners: frozenset[str]
) -> ExpiredRows:
    return ExpiredRows(
        request.table,
        request.column,
        _cutoff(row, request),
        row["kind"] == "p",
        _blocks(row),
        condition=request.where,
        owners=owners,
        uuid_ages=row["type"] == "uuid",
        epoch=request.epoch or "" if row["type"] in INTEGERS else "",
        also=request.children,
        shape=tamper_check.table_shape(session, (request.table, *request.children)),
        pinned=bool(request.children),
    )


def _wrong_rows(session: Session, expired: ExpiredRows) -> str:
    """Return why the rows may not be selected; empty if they may."""
    if expired.condition is not None:
        selected, domain = expired.composed(_SELECTED), TrustDomain(expired.owners)
        try:
            wrong = statement_reason(session, domain, selected)
        except (psycopg.errors.SyntaxError, psycopg.ProgrammingError) as error:
            wrong = first_line(error)
        if wrong:
            return f"its condition (where): {wrong}"
    if expired.uuid_ages and not session.rows(expired.composed(_VERSIONS))[0]["seventh"]:
        return f"column {expired.column!r} holds UUIDs other than version 7, which have no age"
    if expired.epoch:
        return _wrong_epoch(session, expired)
    return ""


def _wrong_epoch(session: Session, expired: ExpiredRows) -> str:
    """Return that another unit fits the integers of a column, if the given one does not."""
    middle = session.rows(expired.composed(_SAMPLE))[0]["middle"]
    if middle is None:
        return ""

    def fits(unit: int) -> bool:
        return _PLAUSIBLE[0] <= int(middle) / unit <= _PLAUSIBLE[1]

    better = [name for name, unit in EPOCHS.items() if fits(unit)]
    if fits(EPOCHS[expired.epoch]) or not better:
        return ""
    return (
        f"its values are not of the unit {expired.epoch!r}, by which {middle} would be "
        f'far in the past or the future; is it epoch = "{better[0]}"?'
    )


def _unreachable(
    session: Session, row: dict[str, Any], tables: Sequence[Relation], owners: frozenset[str]
) -> str:
    """Return why the session may not work on the tables; empty if it may."""
    if row["hidden"]:
        return hidden_rows(session)
    if not row["deletable"]:
        name = session.target.name
        return (
            f"{session.facts.user} has no right to delete its rows: it was listed after the last "
            f"installation; run: sereno install {name} --admin DSN"
        )
    return dependents.outside_reason(session, tables, owners)


def _blocks(row: dict[str, Any]) -> int | None:
    """Return the blocks to walk through; None for a walk by an index or over partitions."""
    if row["indexed"] or row["kind"] == "p":
        return None
    return int(row["blocks"])


def _estimated(session: Session, source: ExpiringTable, bytes_a_row: float) -> ExpiringTable:
    """Return a table with expired rows, with their number and bytes estimated by the planner."""
    assert source.expired is not None  # noqa: S101 - the caller has set it
    plan = session.rows(source.expired.composed(_ESTIMATE))[0]["QUERY PLAN"]
    rows = int(plan[0]["Plan"]["Plan Rows"])
    expired = replace(source.expired, estimated_rows=rows)
    return replace(source, some=True, bytes=int(rows * bytes_a_row), expired=expired)


def _wrong(request: TableRequest, found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return "there is no such table"
    row = found[0]
    if row["type"] is None:
        return f"it has no column {request.column!r}"
    if row["type"] in INTEGERS and request.epoch is None:
        return (
            f'column {request.column!r} is {row["type"]}: give its unit since 1970: epoch = "s", '
            '"ms" or "us"'
        )
    if row["type"] not in TIMES | INTEGERS | {"uuid"}:
        return (
            f"column {request.column!r} is {row['type']}, not date, timestamp, timestamptz, uuid "
            "(v7) or a bigint epoch"
        )
    return ""


def _cutoff(row: dict[str, Any], request: TableRequest) -> str:
    """Return the first age that stays, as text of the column's type."""
    if row["type"] in INTEGERS:
        return str(int(row["epoch"] * EPOCHS[request.epoch or "s"]))
    if row["type"] == "uuid":
        milliseconds = f"{int(row['epoch'] * 1000):012x}"
        return f"{milliseconds[:8]}-{milliseconds[8:]}-0000-0000-000000000000"
    return str(row["cutoff"])


def describe_walk(expired: ExpiredRows) -> str:
    """Return how the table is walked, for people to read."""
    if expired.blocks is None:
        return "by its index"
    return f"through {expired.blocks} blocks: no index on the column"
