"""A table whose old rows are to leave, as the server has it: its ages, how to walk along them, what forbids it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from execution.errors import first_line
from postgres.fencing.ownership import ours
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from retention.partitions import detach, expired
from retention.partitions.expired import Partition
from retention.rows import dependents, tamper_check
from retention.rows.dependents import Family
from retention.rows.row_batches import Expired

_TABLE = sql.SQL(
    """
    SELECT c.relkind::text AS kind, t.typname::text AS type, now() - %(age)s::interval AS cutoff,
           extract(epoch FROM now() - %(age)s::interval)::numeric AS epoch,
           pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks,
           (SELECT sum(pg_catalog.pg_table_size(s.oid))::float8 / nullif(sum(greatest(s.reltuples, 0)), 0)
            FROM pg_catalog.pg_class s
            WHERE s.oid = c.oid OR s.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) AS bytes_a_row,
           EXISTS (SELECT FROM pg_catalog.pg_index x
                   JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
                   JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
                   WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indisvalid
                     AND x.indpred IS NULL) AS indexed,
           EXISTS (SELECT FROM pg_catalog.pg_index x
                   WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
                     AND x.indpred IS NULL AND x.indexprs IS NULL) AS keyed,
           ARRAY(SELECT ARRAY[f.attname::text, pg_catalog.format_type(f.atttypid, f.atttypmod)]
                 FROM pg_catalog.pg_attribute f
                 WHERE f.attrelid = c.oid AND f.attnum > 0 AND NOT f.attisdropped AND f.attgenerated = ''
                 ORDER BY f.attnum) AS columns
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')
    """
)
_ESTIMATE = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {table} c WHERE {due}")
_VERSIONS = sql.SQL(
    "SELECT coalesce(bool_and(substr({column}::text, 15, 1) = '7'), true) AS seventh"
    " FROM (SELECT {column} FROM {table} LIMIT 1000) s"
)
NO_RECORD = "sereno.detached_partition is missing or not as sereno made it; run: sereno install {} --admin DSN"
STRANDED = 'it was taken out of its table and is at no end yet: set partitions = "detach" or "drop" again for this'
TIMES = frozenset({"date", "timestamp", "timestamptz"})
INTEGERS = frozenset({"int4", "int8"})
EPOCHS = {"s": 1, "ms": 1000, "us": 1000000}


@dataclass(frozen=True, slots=True)
class Wish:
    """Rows of a table whose age is in `column`, and is more than `age`; `epoch` is the unit of an integer's."""

    table: Relation
    column: str
    age: timedelta
    epoch: str | None = None
    where: sql.SQL | None = None
    """A condition in SQL, of who wrote the configuration."""
    children: tuple[Relation, ...] = ()
    """Tables whose rows leave with those that they refer to."""
    whole: bool = False
    """Partitions leave as a whole: of a partitioned table no single row does."""


@dataclass(frozen=True, slots=True)
class Source:
    """What was found; `wrong` says why nothing may leave it."""

    wish: Wish
    wrong: str = ""
    some: bool = False
    bytes: int = 0
    """About so many leave; none where nobody has counted the rows yet."""
    expired: Expired | None = None
    keyed: bool = False
    partitions: Sequence[Partition] = ()
    """Those that leave as a whole, and those that were begun with and are not settled."""
    family: Family | None = None
    """What leaves with them, and what forbids it."""
    columns: ColumnTypes = ()
    """All but the generated ones, which say nothing of their own."""


def look(session: Session, wish: Wish) -> Source:
    """Look at one table, without locking it; what is wrong with it keeps no other from being looked at."""
    try:
        return _looked_at(session, wish)
    except psycopg.errors.QueryCanceled:
        raise
    except psycopg.Error as error:
        return Source(wish, wrong=first_line(error))


def with_partitions(source: Source, session: Session, instance: str) -> Source:
    """Look at the partitions as well, through a session that may read them all: first what was begun with.

    Where single rows leave now, what was begun with as a whole stands there with the cure.
    """
    whole = source.wish.whole
    if source.expired is None or source.wrong:
        return source
    if not ours(session, detach.TABLE):
        return replace(source, wrong=NO_RECORD.format(session.target.name)) if whole else source
    try:
        begun = detach.unsettled(session, source.expired, instance)
        known = {part.oid for part in begun}
        others = [part for part in expired.look(session, source.expired) if part.oid not in known] if whole else []
    except psycopg.Error as error:
        return Source(source.wish, wrong=first_line(error))
    if not whole:
        begun = [replace(part, wrong=STRANDED) for part in begun]
    return replace(source, partitions=(*begun, *others))


def _looked_at(session: Session, wish: Wish) -> Source:
    names = {"schema": wish.table.schema, "name": wish.table.name, "column": wish.column, "age": wish.age}
    found = session.rows(_TABLE, names)
    wrong = _wrong(wish, found)
    if wrong:
        return Source(wish, wrong=wrong)
    row = found[0]
    partitioned = row["kind"] == "p"
    blocks = None if row["indexed"] or partitioned else int(row["blocks"])
    relatives = None
    if not (wish.whole and partitioned):
        relatives = dependents.look(session, wish.table, wish.children)
        if relatives.wrong:
            return Source(wish, wrong=relatives.wrong)
    uuids = row["type"] == "uuid"
    expired = Expired(
        wish.table,
        wish.column,
        _cutoff(row, wish),
        partitioned,
        blocks,
        condition=wish.where,
        uuids=uuids,
        also=wish.children,
        shape=tamper_check.shape(session, (wish.table, *wish.children)),
        pinned=bool(wish.children),
    )
    if uuids and not session.rows(expired.composed(_VERSIONS))[0]["seventh"]:
        return Source(wish, wrong=f"column {wish.column!r} holds UUIDs that are not of version 7: they have no age")
    columns = tuple((name, kind) for name, kind in row["columns"])
    some = not (wish.whole and partitioned) and expired.some(session)
    source = Source(wish, some=some, expired=expired, keyed=row["keyed"], columns=columns, family=relatives)
    if not source.some:
        return source
    plan = session.rows(expired.composed(_ESTIMATE))[0]["QUERY PLAN"]
    rows = int(plan[0]["Plan"]["Plan Rows"])
    return replace(source, bytes=int(rows * (row["bytes_a_row"] or 0)), expired=replace(expired, estimate=rows))


def _wrong(wish: Wish, found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return "there is no such table"
    row = found[0]
    if row["type"] is None:
        return f"it has no column {wish.column!r}"
    if row["type"] in INTEGERS and wish.epoch is None:
        return f'column {wish.column!r} is {row["type"]}: say what it counts since 1970: epoch = "s", "ms" or "us"'
    if row["type"] not in TIMES | INTEGERS | {"uuid"}:
        return f"column {wish.column!r} is {row['type']}, not date, timestamp, timestamptz, uuid (v7) or a bigint epoch"
    return ""


def _cutoff(row: dict[str, Any], wish: Wish) -> str:
    """Return the first age that stays, as text of the column's own type."""
    if row["type"] in INTEGERS:
        return str(int(row["epoch"] * EPOCHS[wish.epoch or "s"]))
    if row["type"] == "uuid":
        milliseconds = f"{int(row['epoch'] * 1000):012x}"
        return f"{milliseconds[:8]}-{milliseconds[8:]}-0000-0000-000000000000"
    return str(row["cutoff"])


def walked(expired: Expired) -> str:
    """Say how it is walked along."""
    return "by its index" if expired.blocks is None else f"through {expired.blocks} blocks: no index on the column"
