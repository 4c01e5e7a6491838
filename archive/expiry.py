"""The archive's own retention: a file leaves when all that stands in it was archived long enough ago."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from archive.volume import Shelf
from postgres.connection import Session
from postgres.pace import Pace
from postgres.step import Outcome, Status

_DUE = sql.SQL(
    """
    SELECT file, sum(rows)::bigint AS rows, sum(length)::bigint AS bytes, max(archived_at)::text AS last
    FROM sereno.archive_batch
    WHERE instance = %s AND "schema" = %s AND "table" = %s AND destination = %s AND expired_at IS NULL
    GROUP BY file HAVING max(archived_at) < now() - %s::interval ORDER BY file
    """
)
_EXPIRE = sql.SQL(
    """
    UPDATE sereno.archive_batch SET expired_at = now()
    WHERE instance = %s AND "schema" = %s AND "table" = %s AND destination = %s AND file = %s AND expired_at IS NULL
    """
)


@dataclass(frozen=True, slots=True)
class Stale:
    """A file, and what is in it."""

    name: str
    rows: int
    bytes: int
    last: str


def due(session: Session, shelf: Shelf, keep: timedelta) -> Sequence[Stale]:
    """Return the files of a shelf whose last batch is older than that."""
    found = session.rows(_DUE, (*_key(shelf), keep))
    return [Stale(row["file"].rpartition("/")[2], row["rows"], row["bytes"], row["last"]) for row in found]


@dataclass(frozen=True, slots=True)
class Expiry:
    """Remove one file of the archive that this instance has written; the ledger keeps its batches, marked."""

    shelf: Shelf
    stale: Stale
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 600.0
    alone: bool = False
    name: str = "expire"
    lock: str = "ROW EXCLUSIVE"

    @property
    def object(self) -> str:
        """The file."""
        return f"{self.shelf.root}/{self.shelf.folder}/{self.stale.name}"

    def statement(self) -> str:
        """Return what it comes down to."""
        return f"unlink {self.object}"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Remove it, then say so: who dies in between finds it gone the next time. OSError: it is not ours."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        session.allow(pace.remaining_seconds())
        self.shelf.remove(self.stale.name)
        session.execute(_EXPIRE, (*_key(self.shelf), f"{self.shelf.folder}/{self.stale.name}"))
        return Outcome(Status.DONE, rows=self.stale.rows, bytes=self.stale.bytes)


def _key(shelf: Shelf) -> tuple[str, str, str, str]:
    return shelf.writer.instance, shelf.writer.schema, shelf.writer.table, shelf.destination
