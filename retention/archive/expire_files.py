"""The archive's own retention: a file leaves when all that stands in it was archived long enough ago."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Owned, Status
from postgres.session import Session
from retention.archive.archive_file import Shelf

_DUE = sql.SQL(
    """
    SELECT file, sum(rows)::bigint AS rows, sum(length)::bigint AS bytes, max(archived_at)::text AS last,
           array_agg(id::text) AS batches
    FROM sereno.archive_batch
    WHERE instance = %s AND "schema" = %s AND "table" = %s AND destination = %s AND expired_at IS NULL
      AND file = %s || '/' || pg_catalog.reverse(pg_catalog.split_part(pg_catalog.reverse(file), '/', 1))
    GROUP BY file HAVING max(archived_at) < now() - %s::interval ORDER BY file
    """
)
_EXPIRE = sql.SQL(
    "UPDATE sereno.archive_batch SET expired_at = now() WHERE id = ANY (%s::uuid[]) AND expired_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Stale:
    """A file, and what is in it."""

    name: str
    rows: int
    bytes: int
    last: str
    batches: tuple[str, ...] = ()


def due(session: Session, shelf: Shelf, keep: timedelta) -> Sequence[Stale]:
    """Return the files of a shelf whose last batch is older than that."""
    writer = shelf.writer
    asked = (writer.instance, writer.schema, writer.table, shelf.destination, shelf.folder, keep)
    return [
        Stale(row["file"].rpartition("/")[2], row["rows"], row["bytes"], row["last"], tuple(row["batches"]))
        for row in session.rows(_DUE, asked)
    ]


@dataclass(frozen=True, slots=True)
class Expiry(Owned):
    """Remove one file of the archive that this instance has written; the ledger keeps its batches, marked.

    As `maintain`, which no trigger runs as: nobody else can mark a batch as expired.
    """

    shelf: Shelf
    stale: Stale
    keep: timedelta
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
        """Remove it, if it is still due, then say so: who dies in between finds it gone the next time.

        OSError: it is not ours.
        """
        assert session is not None  # noqa: S101 - the executor of a database job has one
        opened = session
        opened.allow(pace.remaining_seconds())

        def still() -> Sequence[str]:
            found = [one for one in due(opened, self.shelf, self.keep) if one.name == self.stale.name]
            return found[0].batches if found else ()

        gone = self.shelf.remove(self.stale.name, still)
        if not gone:
            return Outcome(Status.SKIPPED, "it has got newer batches since it was planned")
        opened.execute(_EXPIRE, (list(gone),))
        return Outcome(Status.DONE, rows=self.stale.rows, bytes=self.stale.bytes)
