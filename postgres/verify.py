"""Whether a command did what it was for. No error is no proof: without the right, ANALYZE only warns."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import sql

from postgres.connection import Session
from postgres.horizon import holder

SETTLE_SECONDS = 3.0
"""Before 15, statistics are reported through a process of their own, up to half a second later."""
_AT_ONCE_SINCE = 150000

_ANALYZED = sql.SQL(
    "SELECT analyze_count + autoanalyze_count AS count FROM pg_catalog.pg_stat_all_tables WHERE relid = %s"
)


class Postcondition(Protocol):
    """Two looks, one before and one after."""

    def look(self, session: Session) -> Any:  # noqa: ANN401 - each kind remembers what it likes
        """Return what `why_not` will compare with."""

    def why_not(self, session: Session, before: Any) -> tuple[str, int]:  # noqa: ANN401
        """Return why the command was in vain, or nothing; and how many rows it has changed, where that is known."""


def _settled(session: Session) -> float:
    """Return until when (on the monotonic clock) the statistics may be late."""
    return time.monotonic() + (0.0 if session.facts.version >= _AT_ONCE_SINCE else SETTLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The server counts one more ANALYZE of the relation."""

    oid: int

    def look(self, session: Session) -> int | None:
        """Return the server's count; None where it keeps none."""
        found = session.rows(_ANALYZED, (self.oid,))
        return int(found[0]["count"]) if found else None

    def why_not(self, session: Session, before: int | None) -> tuple[str, int]:
        """Wait a moment for the statistics to arrive."""
        deadline = _settled(session)
        while True:
            after = self.look(session)
            if after is None:
                return "the table is gone", 0
            if after > (before or 0):
                return "", 0
            if time.monotonic() >= deadline:
                return "the server counts no new ANALYZE: is the right to analyze this table missing?", 0
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Believed:
    """There is nothing to look up: that the server raised no error is all that can be had."""

    def look(self, _session: Session) -> None:
        """Nothing."""

    def why_not(self, _session: Session, _before: None) -> tuple[str, int]:
        """Nothing."""
        return "", 0


_VACUUMED = sql.SQL(
    """
    SELECT c.oid::bigint AS oid,
           pg_catalog.pg_stat_get_vacuum_count(c.oid) + pg_catalog.pg_stat_get_autovacuum_count(c.oid) AS count,
           pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead,
           age(c.relfrozenxid) AS age, mxid_age(c.relminmxid) AS members
    FROM pg_catalog.pg_class c WHERE c.oid = ANY (%s)
    """
)


_UNITS = {"age": "transactions", "members": "multixacts"}


@dataclass(frozen=True, slots=True)
class Due:
    """From where on a table is due for VACUUM: dead rows, age in transactions, age in multixacts."""

    oid: int
    dead: float
    age: float
    members: float


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """The server counts one more VACUUM of each table, and what it was for is no longer so."""

    tables: tuple[Due, ...]

    def look(self, session: Session) -> dict[int, dict[str, Any]]:
        """Return counts and ages by oid."""
        oids = [table.oid for table in self.tables]
        return {row["oid"]: row for row in session.rows(_VACUUMED, (oids,))}

    def reached(self, session: Session, before: dict[int, dict[str, Any]]) -> dict[int, tuple[str, int]]:
        """Return for each table that was vacuumed since (or is gone) why in vain, or nothing; and dead rows removed."""
        deadline = _settled(session)
        while True:
            after = self.look(session)
            seen = {
                table.oid: self._in_vain(session, table, before[table.oid], after.get(table.oid))
                for table in self.tables
                if table.oid in before
                and (table.oid not in after or after[table.oid]["count"] > before[table.oid]["count"])
            }
            if len(seen) == len(self.tables) or time.monotonic() >= deadline:
                return seen
            time.sleep(0.05)

    def why_not(self, session: Session, before: dict[int, dict[str, Any]]) -> tuple[str, int]:
        """Answer for the only table."""
        missing = "the server counts no new VACUUM: is the right to vacuum this table missing?"
        return self.reached(session, before).get(self.tables[0].oid, (missing, 0))

    def _in_vain(
        self, session: Session, table: Due, before: dict[str, Any], after: dict[str, Any] | None
    ) -> tuple[str, int]:
        """Half of the dead rows gone is not in vain: others write meanwhile."""
        if after is None:
            return "the table is gone", 0
        removed = max(0, before["dead"] - after["dead"])
        if after["dead"] > table.dead and 2 * after["dead"] >= before["dead"]:
            return f"dead rows that stay: {after['dead']}; {holder(session)}", removed
        for kind in ("age", "members"):
            if before[kind] >= getattr(table, kind) and after[kind] >= getattr(table, kind):
                return f"its oldest row is still {after[kind]} {_UNITS[kind]} old; {holder(session)}", removed
        return "", removed
