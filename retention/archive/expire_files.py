"""Expiry of archive files: a file is deleted when all its batches are old enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Session
from retention.archive.archive_file import TableArchive
from retention.archive.ledger import TRUSTED

_DUE = sql.SQL(
    """
    SELECT file, sum(rows)::bigint AS rows, sum(length)::bigint AS bytes,
           max(archived_at)::text AS last, array_agg(id::text) AS batches
    FROM sereno.archive_batch
    WHERE instance = %s AND "schema" = %s AND "table" = %s AND destination = %s
      AND expired_at IS NULL AND {trusted}
      AND pg_catalog.regexp_replace(file, '[^/]*$', '') = %s || '/'
    GROUP BY file HAVING max(archived_at) < now() - %s::interval ORDER BY file
    """
).format(trusted=TRUSTED)
_EXPIRE = sql.SQL(
    """
        UPDATE sereno.archive_batch SET expired_at = now()
        WHERE id = ANY (%s::uuid[]) AND expired_at IS NULL
    """
)


@dataclass(frozen=True, slots=True)
class ExpiredFile:
    """An archive file whose batches have all expired."""

    name: str
    rows: int
    bytes: int
    last: str
    batches: tuple[str, ...] = ()


def expired_files(
    session: Session, archive: TableArchive, keep: timedelta
) -> Sequence[ExpiredFile]:
    """Return the files whose last batch was archived longer ago than `keep`."""
    writer = archive.writer
    asked = (
        writer.instance,
        writer.schema,
        writer.table,
        archive.destination,
        archive.folder,
        keep,
    )
    return [
        ExpiredFile(
            row["file"].rpartition("/")[2],
            row["rows"],
            row["bytes"],
            row["last"],
            tuple(row["batches"]),
        )
        for row in session.rows(_DUE, asked)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireFile(DatabaseStep):
    """Delete one archive file of this instance and mark its batches as expired in the ledger.

    It runs as `maintain`, as which no trigger runs: nobody else can mark a batch.
    """

    archive: TableArchive
    stale: ExpiredFile
    keep: timedelta
    limit_seconds: float = 600.0
    name: str = "expire"
    lock: str = "ROW EXCLUSIVE"

    def statement(self) -> str:
        """Return the deletion for people to read."""
        return f"unlink {self.object}"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Delete the file if it is still due, then mark its batches.

        After a crash in between the next run finds the file gone and marks them. Raises OSError if
        the file belongs to another writer.
        """
        session.set_timeouts(control.remaining_seconds())

        def still() -> Sequence[str]:
            found = [
                one
                for one in expired_files(session, self.archive, self.keep)
                if one.name == self.stale.name
            ]
            if found:
                return found[0].batches
            return ()

        gone = self.archive.remove(self.stale.name, still)
        if not gone:
            return Outcome(Status.SKIPPED, "it has received newer batches since it was planned")
        session.execute(_EXPIRE, (list(gone),))
        return Outcome(Status.DONE, rows=self.stale.rows, bytes=self.stale.bytes)
