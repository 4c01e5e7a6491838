"""Expired rows of log tables leave in small batches; expired log files by descriptor."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from archive.folder import File, FolderCleanup, Rule, expired
from daemon.config.jobs import ExpiringFiles, ExpiringTable
from daemon.config.model import Config
from daemon.config.values import in_words
from daemon.jobs.job import Job, Looking, Scope, effect
from postgres.batches import Expired
from postgres.connection import Session
from postgres.deletion import Deletion
from postgres.identifiers import Relation
from postgres.refusal import Refusal
from postgres.step import Step
from postgres.trouble import first_line

_TABLE = sql.SQL(
    """
    SELECT c.oid::bigint AS oid, c.relkind::text AS kind, t.typname::text AS type,
           (now() - %(keep)s::interval)::text AS cutoff,
           pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks,
           greatest(c.reltuples, 0)::float8 AS tuples,
           EXISTS (SELECT FROM pg_catalog.pg_index x
                   JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
                   JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
                   WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indisvalid
                     AND x.indpred IS NULL) AS indexed,
           ARRAY(SELECT DISTINCT k.conrelid::regclass::text FROM pg_catalog.pg_constraint k
                 WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')
                   AND k.confrelid IN (SELECT c.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)
                                       UNION SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid))
                 ORDER BY 1) AS cascades
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')
    """
)
_ANY = sql.SQL("SELECT EXISTS (SELECT FROM {only}{table} WHERE {column} < {cutoff}) AS some")
_ESTIMATE = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {only}{table} WHERE {column} < {cutoff}")
_TYPES = frozenset({"date", "timestamp", "timestamptz"})


@dataclass(frozen=True, slots=True)
class SeenTable:
    """A listed table as the server has it; `wrong` says why nothing may be deleted from it."""

    table: Relation
    column: str
    keep: str
    cutoff: str = ""
    wrong: str = ""
    some: bool = False
    partitioned: bool = False
    blocks: int | None = None
    estimate: int = 0


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A listed folder and what has expired in it."""

    rule: Rule
    files: Sequence[File]
    note: str


Observation = tuple[Sequence[SeenTable], Sequence[SeenFolder]]


def observe(looking: Looking) -> Observation:
    """Look at the listed tables of this database, or at the listed folders of this host."""
    wishes = looking.config.jobs.log_cleanup
    if looking.session is None:
        return (), [_folder(files) for files in wishes.files]
    listed = [wish for wish in wishes.tables if wish.database in {None, looking.database}]
    return [_looked_at(looking.session, wish) for wish in listed], ()


def _looked_at(session: Session, wish: ExpiringTable) -> SeenTable:
    """Look at one table; what is wrong with it keeps no other from being cleaned."""
    try:
        return _table(session, wish)
    except psycopg.errors.QueryCanceled:
        raise
    except psycopg.Error as error:
        return SeenTable(wish.table, wish.column, in_words(wish.keep), wrong=first_line(error))


def _table(session: Session, wish: ExpiringTable) -> SeenTable:
    seen = SeenTable(wish.table, wish.column, in_words(wish.keep))
    names = {"schema": wish.table.schema, "name": wish.table.name, "column": wish.column, "keep": wish.keep}
    found = session.rows(_TABLE, names)
    wrong = _wrong(wish, found)
    if wrong:
        return SeenTable(seen.table, seen.column, seen.keep, wrong=wrong)
    row = found[0]
    parts = {
        "only": sql.SQL("" if row["kind"] == "p" else "ONLY "),
        "table": wish.table.identifier(),
        "column": sql.Identifier(wish.column),
        "cutoff": sql.Literal(row["cutoff"]),
    }
    some = bool(session.rows(_ANY.format(**parts))[0]["some"])
    plan = session.rows(_ESTIMATE.format(**parts))[0]["QUERY PLAN"] if some else [{"Plan": {"Plan Rows": 0}}]
    by_index = row["indexed"] or row["kind"] == "p"
    return SeenTable(
        seen.table,
        seen.column,
        seen.keep,
        cutoff=row["cutoff"],
        some=some,
        partitioned=row["kind"] == "p",
        blocks=None if by_index else int(row["blocks"]),
        estimate=int(plan[0]["Plan"]["Plan Rows"]),
    )


def _wrong(wish: ExpiringTable, found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return "there is no such table"
    row = found[0]
    if row["type"] is None:
        return f"it has no column {wish.column!r}"
    if row["type"] not in _TYPES:
        return f"column {wish.column!r} is {row['type']}, not date, timestamp or timestamptz"
    if row["cascades"]:
        return f"deleting would reach into {', '.join(row['cascades'])} by foreign key"
    return ""


def _folder(files: ExpiringFiles) -> SeenFolder:
    rule = Rule(files.path, files.keep.total_seconds(), files.keep_newest, files.most_files, files.most_share)
    try:
        found, note = expired(rule, time.time())
    except FileNotFoundError:
        return SeenFolder(rule, (), "there is no such folder")
    except OSError as error:
        return SeenFolder(rule, (), str(error))
    return SeenFolder(rule, found, note)


def plan(seen: Observation) -> Sequence[Step]:
    """In the order of the configuration; nothing where nothing has expired."""
    tables, folders = seen
    steps: list[Step] = []
    for table in tables:
        if table.wrong:
            steps.append(Refusal("delete", str(table.table), table.wrong))
        elif table.some:
            steps.append(_deletion(table))
    steps += [
        FolderCleanup(folder.rule, folder.files, folder.note or _files_why(folder))
        for folder in folders
        if folder.files or folder.note
    ]
    return steps


def _deletion(table: SeenTable) -> Step:
    walk = "by its index" if table.blocks is None else f"through {table.blocks} blocks: no index on the column"
    expired = Expired(
        table.table, table.column, table.cutoff, table.partitioned, blocks=table.blocks, estimate=table.estimate
    )
    return Deletion(expired, f"about {table.estimate} rows are older than {table.keep}; {walk}")


def _files_why(folder: SeenFolder) -> str:
    return f"{len(folder.files)} files, {sum(file.bytes for file in folder.files)} bytes"


def wanted(config: Config, scope: Scope) -> bool:
    """Tables are the database's, files the host's; one may be there without the other."""
    wishes = config.jobs.log_cleanup
    return bool(wishes.files if scope is Scope.HOST else wishes.tables)


JOB = Job(
    name="log_cleanup",
    summary="delete expired rows of log tables in small batches, and expired log files",
    scopes=(Scope.DATABASE, Scope.HOST),
    observe=observe,
    plan=plan,
    judge=effect("log_cleanup"),
    wanted=wanted,
    login="data",
    deletes=True,
)
