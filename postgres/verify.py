"""Whether a command did what it was for. No error is no proof: without the right, ANALYZE only warns."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import sql

from postgres.connection import Session

SETTLE_SECONDS = 3.0
"""Server 14 reports statistics through a process of its own, up to half a second later."""

_ANALYZED = sql.SQL(
    "SELECT analyze_count + autoanalyze_count AS count FROM pg_catalog.pg_stat_all_tables WHERE relid = %s"
)


class Postcondition(Protocol):
    """Two looks, one before and one after."""

    def look(self, session: Session) -> Any:  # noqa: ANN401 - each kind remembers what it likes
        """Return what `why_not` will compare with."""

    def why_not(self, session: Session, before: Any) -> str:  # noqa: ANN401
        """Return why the command was in vain, or nothing."""


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The server counts one more ANALYZE of the relation."""

    oid: int

    def look(self, session: Session) -> int | None:
        """Return the server's count; None where it keeps none."""
        found = session.rows(_ANALYZED, (self.oid,))
        return int(found[0]["count"]) if found else None

    def why_not(self, session: Session, before: int | None) -> str:
        """Wait a moment for the statistics to arrive."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            after = self.look(session)
            if after is None:
                return "the table is gone"
            if after > (before or 0):
                return ""
            if time.monotonic() >= deadline:
                return "the server counts no new ANALYZE: is the right to analyze this table missing?"
            time.sleep(0.05)
