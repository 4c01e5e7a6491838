"""Postconditions: verification that a command had its effect.

No error is no proof: without the right, ANALYZE only warns.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import sql

from execution.step import Evidence, Outcome, Status
from postgres.catalog.xmin_horizon import missing_privilege, oldest_holder
from postgres.session import SHARED_STATISTICS_SINCE, Session

SETTLE_SECONDS = 3.0

_ANALYZED = sql.SQL(
    """
        SELECT analyze_count + autoanalyze_count AS count
        FROM pg_catalog.pg_stat_all_tables
        WHERE relid = %s
    """
)


@dataclass(frozen=True, slots=True)
class Effect:
    """The verified effect of a command: why it was ineffective, rows changed, and what remains."""

    ineffective_reason: str = ""
    rows: int = 0
    left: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
    """Values for the next plan."""

    def outcome(self, size: int, evidence: Evidence | None = None) -> Outcome:
        """Return the outcome of a step on an object of `size` bytes."""
        status = Status.INEFFECTIVE if self.ineffective_reason else Status.DONE
        merged = {**(evidence or {}), **self.evidence}
        return Outcome(
            status, self.ineffective_reason or self.left, self.rows, size, evidence=merged
        )


class Postcondition(Protocol):
    """Compares the state before and after a command."""

    def look(self, session: Session) -> Any:  # noqa: ANN401 - each kind remembers what it likes
        """Return the state to compare with."""

    def begun(self, session: Session, before: Any) -> bool:  # noqa: ANN401
        """Return whether a failed command had done its main part; then it is not repeated."""

    def effect(self, session: Session, before: Any) -> Effect:  # noqa: ANN401
        """Return the effect of the command."""


def _settled(session: Session) -> float:
    """Return the time on the monotonic clock until which statistics may be late."""
    return time.monotonic() + (
        0.0 if session.facts.version >= SHARED_STATISTICS_SINCE else SETTLE_SECONDS
    )


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The server counts one more ANALYZE of the relation, and nothing lacks statistics any more."""

    oid: int
    missing: Callable[[Session], Sequence[str]] | None = None
    """Returns the names that lack statistics."""

    def look(self, session: Session) -> int | None:
        """Return the server's count; None if it keeps none."""
        found = session.rows(_ANALYZED, (self.oid,))
        if found:
            return int(found[0]["count"])
        return None

    def begun(self, _session: Session, _before: int | None) -> bool:
        """Return False: ANALYZE is one transaction."""
        return False

    def effect(self, session: Session, before: int | None) -> Effect:
        """Return the effect, waiting briefly for the statistics to arrive."""
        deadline = _settled(session)
        while True:
            after = self.look(session)
            if after is None:
                return Effect("the table no longer exists")
            if after > (before or 0):
                names = list(self.missing(session)) if self.missing else []
                left = ""
                if names:
                    left = f"statistics still missing for {', '.join(names)}"
                return Effect(left=left, evidence={"missing": names} if names else {})
            if time.monotonic() >= deadline:
                return Effect(
                    "the server counted no new ANALYZE; is the right to analyze this table missing?"
                )
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Unverified:
    """No postcondition: a command without an error counts as done."""

    def look(self, _session: Session) -> None:
        """Return nothing."""

    def begun(self, _session: Session, _before: None) -> bool:
        """Return False."""
        return False

    def effect(self, _session: Session, _before: None) -> Effect:
        """Return an empty effect."""
        return Effect()


_VACUUMED = sql.SQL(
    """
    SELECT c.oid::bigint AS oid,
           pg_catalog.pg_stat_get_vacuum_count(c.oid)
             + pg_catalog.pg_stat_get_autovacuum_count(c.oid) AS count,
           pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead,
           coalesce(pg_catalog.pg_stat_get_dead_tuples(c.reltoastrelid), 0) AS toast,
           greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS age,
           greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) AS members
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    WHERE c.oid = ANY (%s)
    """
)
_ROWS = {"dead": "dead rows", "toast": "dead TOAST rows"}
_UNITS = {"age": "transactions", "members": "multixacts"}

Counts = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class VacuumDue:
    """The limits at which a table is due for VACUUM: dead rows, TOAST, xid and multixact age."""

    oid: int
    dead: float
    toast: float
    age: float
    members: float


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """The server counts one more VACUUM of each table, and its reason no longer holds."""

    tables: tuple[VacuumDue, ...]

    def look(self, session: Session) -> Counts:
        """Return counts and ages by oid."""
        oids = [table.oid for table in self.tables]
        return {row["oid"]: row for row in session.rows(_VACUUMED, (oids,))}

    def begun(self, session: Session, before: Counts) -> bool:
        """Return whether a table was vacuumed: it commits before TOAST and before ANALYZE."""
        return bool(self._counted(before, self.look(session)))

    def reached(self, session: Session, before: Counts) -> dict[int, Effect]:
        """Return the effect on each table that was vacuumed or dropped since."""
        deadline = _settled(session)
        while True:
            after = self.look(session)
            seen = self._counted(before, after)
            if len(seen) == len(self.tables) or time.monotonic() >= deadline:
                return {table.oid: _effect(session, table, before, after) for table in seen}
            time.sleep(0.05)

    def effect(self, session: Session, before: Counts) -> Effect:
        """Return the effect on the only table."""
        missing = Effect(
            "the server counts no new VACUUM: is the right to vacuum this table missing?"
        )
        return self.reached(session, before).get(self.tables[0].oid, missing)

    def _counted(self, before: Counts, after: Counts) -> list[VacuumDue]:
        return [
            table
            for table in self.tables
            if table.oid not in after
            or (table.oid in before and after[table.oid]["count"] > before[table.oid]["count"])
        ]


def _effect(session: Session, table: VacuumDue, before: Counts, after: Counts) -> Effect:
    """Return the effect on one table.

    Ineffective means that less than half was removed while something held the rest; other sessions
    write meanwhile.
    """
    if table.oid not in after or table.oid not in before:
        return Effect()  # the table was dropped
    was, now = before[table.oid], after[table.oid]
    removed = max(0, was["dead"] - now["dead"])
    left = ""
    for kind, rows in _ROWS.items():
        if now[kind] > getattr(table, kind):
            left = f"{rows} remaining: {now[kind]}"
            held_back = 2 * now[kind] >= was[kind]
            if held_back and (effect := _held(session, left, removed, now["dead"])):
                return effect
    for kind, unit in _UNITS.items():
        if min(was[kind], now[kind]) >= getattr(table, kind):
            left = f"its oldest row is still {now[kind]} {unit} old"
            if effect := _held(session, left, removed, now["dead"]):
                return effect
    if left and (held := oldest_holder(session)):
        left = f"{left}; {held}"
    return Effect("", removed, left)


def _held(session: Session, left: str, removed: int, dead: int) -> Effect | None:
    """Return the holder of the remaining rows.

    Until its horizon advances another VACUUM is pointless.
    """
    held = oldest_holder(session)
    if held:
        return Effect(f"{left}; {held}", removed, evidence={"horizon": held.xid, "dead": dead})
    unseen = missing_privilege(session)
    if unseen:
        return Effect(f"{left}; {unseen}", removed)
    return None
