"""Archived rows come back: a batch is one transaction, and is marked in the ledger with it, so it comes back once."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from psycopg import errors, sql

from execution.errors import first_line
from postgres.session import Session
from retention.archive import ledger, scratch_table
from retention.archive.frame import lines, prove
from retention.archive.ledger import Filed
from retention.files.safe_open import opened

Conflict = Literal["error", "skip"]

_PUT = sql.SQL("INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {scratch} {conflict}")
_CONFLICTS = {"error": sql.SQL(""), "skip": sql.SQL("ON CONFLICT DO NOTHING")}


PRIVILEGED = """a superuser would run the triggers of {table} with all rights; connect as who has no more than
  GRANT INSERT, SELECT ON {table} TO …; GRANT USAGE ON SCHEMA sereno TO …;
  GRANT SELECT, UPDATE ON sereno.archive_batch TO …
  (or, where you know them all, --privileged)"""


class RestoreError(Exception):
    """A batch cannot come back; the sentence says why. Nothing of it did."""


@dataclass(frozen=True, slots=True)
class Restored:
    """How many rows of a batch came back, and how many were there already."""

    rows: int
    there: int


def restore(session: Session, batch: Filed, conflict: Conflict) -> Restored | None:
    """Put the rows of a batch back; None: that was done before.

    RestoreError: its columns are others now, a row is there already (conflict "error"), its partition is not, or the
    login may not insert. OSError: its file is missing or damaged.
    """
    try:
        return _restored(session, batch, conflict)
    except errors.CheckViolation as error:
        cure = "make the partition, or drop the constraint, first"
        raise RestoreError(f"{first_line(error)}: {cure}") from None
    except (errors.IntegrityError, errors.InsufficientPrivilege) as error:
        raise RestoreError(first_line(error)) from None


def _restored(session: Session, batch: Filed, conflict: Conflict) -> Restored | None:
    names = [name for name, _ in batch.columns]
    if ledger.columns(session, batch.table, names) != batch.columns:
        raise RestoreError(f"{batch.table} has other columns now than when batch {batch.entry.batch} was archived")
    pure = PurePosixPath(batch.path)
    with opened(str(pure.parent)) as folder:
        descriptor = os.open(pure.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        prove(descriptor, batch.entry.frame)
        put = _PUT.format(
            table=batch.table.identifier(),
            columns=scratch_table.columns(batch),
            scratch=scratch_table.TABLE,
            conflict=_CONFLICTS[conflict],
        )
        with session.transaction():
            if not ledger.mark(session, batch):
                return None
            scratch_table.load(session, batch, lines(descriptor, batch.entry.frame))
            rows = session.execute(put)
    finally:
        os.close(descriptor)
    return Restored(rows, batch.entry.frame.rows - rows)
