"""Restore of archived batches: one transaction each, marked in the ledger, so each returns once."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from psycopg import errors, sql

from execution.errors import first_line
from postgres.identifiers import Relation
from postgres.session import Session
from postgres.statement_file import read_statement
from retention.archive import ledger, scratch_table
from retention.archive.frame import read_lines, verify_frame
from retention.archive.ledger import LedgeredBatch
from retention.files.safe_open import open_folder, open_regular

Conflict = Literal["error", "skip"]

_PUT = sql.SQL(
    """
        INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns}
        FROM {scratch} {conflict}
    """
)
_SEQUENCES = read_statement("retention.archive", "owned_sequences")
_BEHIND = sql.SQL(
    """
    SELECT t.highest, t.highest > s.last_value - (NOT s.is_called)::int AS behind
    FROM {sequence} s CROSS JOIN (SELECT max({column}) AS highest FROM {table}) t
    """
)
_CHILDREN = sql.SQL(
    """
    SELECT DISTINCT cn.nspname AS schema, c.relname AS name
    FROM pg_catalog.pg_constraint f
    JOIN pg_catalog.pg_class p ON p.oid = f.confrelid
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
    JOIN pg_catalog.pg_class c ON c.oid = f.conrelid
    JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
    WHERE f.contype = 'f' AND pn.nspname = %s AND p.relname = %s AND f.conrelid <> f.confrelid
    ORDER BY 1, 2
    """
)
_CONFLICTS = {"error": sql.SQL(""), "skip": sql.SQL("ON CONFLICT DO NOTHING")}


PRIVILEGED = """a superuser would run the triggers of {table} with all rights; connect as a role
  with no more than
  GRANT INSERT, SELECT ON {table} TO …; GRANT USAGE ON SCHEMA sereno TO …;
  GRANT SELECT, UPDATE ON sereno.archive_batch TO …
  (or, where you know them all, --privileged)"""


class RestoreError(Exception):
    """A batch cannot be restored; the message says why. None of it was."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The rows of a batch restored, and the rows found already present."""

    rows: int
    already_present: int


def restore(session: Session, batch: LedgeredBatch, conflict: Conflict) -> Restored | None:
    """Restore the rows of a batch; None if that was done before.

    Raises RestoreError if its columns have changed, a row exists already (conflict "error"), its
    partition is missing, or the login may not insert. Raises OSError if its file is missing or
    damaged.
    """
    try:
        return _restored(session, batch, conflict)
    except errors.CheckViolation as error:
        cure = "create the partition or drop the constraint first"
        raise RestoreError(f"{first_line(error)}: {cure}") from None
    except (errors.IntegrityError, errors.InsufficientPrivilege) as error:
        raise RestoreError(first_line(error)) from None


def children_left(session: Session, table: Relation, batches: Sequence[LedgeredBatch]) -> list[str]:
    """Return a line per table whose archived rows refer to the table and are not restored yet."""
    lines = []
    for row in session.rows(_CHILDREN, (table.schema, table.name)):
        child = Relation(row["schema"], row["name"])
        pending = [one for one in batches if one.table == child and not one.restored]
        if pending:
            rows = sum(one.entry.frame.rows for one in pending)
            lines.append(
                f"{rows} rows of {child}, which refer to {table}, are still archived: sereno "
                f"archive restore '{child}'"
            )
    return lines


def sequences_behind(session: Session, table: Relation) -> list[str]:
    """Return a line per sequence of a table that would give a restored key again, with the cure."""
    lines = []
    for row in session.rows(_SEQUENCES, (table.schema, table.name)):
        sequence = Relation(row["schema"], row["name"])
        names = {
            "sequence": sequence.identifier(),
            "table": table.identifier(),
            "column": sql.Identifier(row["column"]),
        }
        try:
            found = session.rows(_BEHIND.format(**names))[0]
        except errors.InsufficientPrivilege:
            lines.append(f"{sequence} may be behind the restored keys: no privilege to see it")
            continue
        if found["behind"]:
            lines.append(
                f"{sequence} is behind the restored keys (highest {found['highest']}): "
                f"SELECT setval('{sequence}', {found['highest']})"
            )
    return lines


def _restored(session: Session, batch: LedgeredBatch, conflict: Conflict) -> Restored | None:
    names = [name for name, _ in batch.columns]
    if ledger.columns(session, batch.table, names) != batch.columns:
        raise RestoreError(
            f"the columns of {batch.table} have changed since batch {batch.entry.batch} was "
            "archived"
        )
    pure = PurePosixPath(batch.path)
    with open_folder(str(pure.parent)) as folder:
        descriptor = open_regular(folder, pure.name)
    try:
        verify_frame(descriptor, batch.entry.frame)
        put = _PUT.format(
            table=batch.table.identifier(),
            columns=scratch_table.columns(batch),
            scratch=scratch_table.TABLE,
            conflict=_CONFLICTS[conflict],
        )
        with session.transaction():
            if not ledger.mark_restored(session, batch):
                return None
            scratch_table.load(session, batch, read_lines(descriptor, batch.entry.frame))
            rows = session.execute(put)
    finally:
        os.close(descriptor)
    return Restored(rows, batch.entry.frame.rows - rows)
