"""The locks of a file, taken first, in one order, in tries that no other session feels for long."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from psycopg import sql

from domain.cause import Cause
from domain.progress import LockTry
from execution.control import RETRYABLE, StepControl
from migrations.statement_locks import ACCESS_SHARE, STRENGTH
from migrations.statements import Statement, TableLock
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.identifiers import Relation
from postgres.ladder import LEAST_MILLISECONDS, Ladder
from postgres.session import Rows, Session
from postgres.statement_file import read_statement

T = TypeVar("T")
Take = Callable[[], None]
"""Takes the locks of one try."""

OLD_SECONDS = 1.0
"""A lock held longer is not waited for in the queue."""
LOOK_SECONDS = 0.5
MOST_NAMED = 3

_HOLDERS = read_statement("migrations", "lock_holders")
_RESOLVED = sql.SQL(
    """
    SELECT w.number, n.nspname::text AS schema, c.relname::text AS name
    FROM unnest(%s::text[]) WITH ORDINALITY w (name, number)
    JOIN pg_catalog.pg_class c ON c.oid = to_regclass(w.name) AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> 'pg_catalog' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    """
)
_LOCK = sql.SQL("SET LOCAL lock_timeout = {}; LOCK TABLE {} IN {} MODE")
_DEADLOCK = sql.SQL(
    "SELECT setting::int AS milliseconds FROM pg_catalog.pg_settings "
    "WHERE name = 'deadlock_timeout'"
)
_CONFLICTS: Mapping[str, tuple[str, ...]] = {
    "ROW SHARE": ("EXCLUSIVE", "ACCESS EXCLUSIVE"),
    "ROW EXCLUSIVE": ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
    "SHARE UPDATE EXCLUSIVE": STRENGTH[3:],
    "SHARE": (*STRENGTH[2:4], *STRENGTH[5:]),
    "SHARE ROW EXCLUSIVE": STRENGTH[2:],
    "EXCLUSIVE": STRENGTH[1:],
    "ACCESS EXCLUSIVE": STRENGTH,
}
"""The modes that each mode conflicts with (manual, table 13.2)."""


def strongest(locks: Iterable[TableLock]) -> list[TableLock]:
    """Return one lock per table, its strongest, in the order of names. Pure."""
    found: dict[tuple[str, str], str] = {}
    for one in locks:
        known = found.get((one.schema, one.table), ACCESS_SHARE)
        found[one.schema, one.table] = max(known, one.mode, key=STRENGTH.index)
    return [TableLock(schema, table, mode) for (schema, table), mode in sorted(found.items())]


def locks_of(statements: Iterable[Statement]) -> list[TableLock]:
    """Return the locks of some statements that are worth taking first. Pure."""
    return strongest(lock for one in statements for lock in one.locks if lock.mode != ACCESS_SHARE)


def server_mode(mode: str) -> str:
    """Return a mode as pg_locks names it: `AccessExclusiveLock`."""
    return "".join(word.capitalize() for word in mode.split()) + "Lock"


def read_deadlock_milliseconds(session: Session) -> int:
    """Return `deadlock_timeout` of the server."""
    return int(session.rows(_DEADLOCK)[0]["milliseconds"])


@dataclass(frozen=True, slots=True)
class ResolvedLock:
    """A lock on a table that exists."""

    table: Relation
    mode: str


class LockAttempts:
    """The tries of one piece of work to get its locks."""

    def __init__(
        self,
        step: MigrationStep,
        session: Session,
        control: StepControl,
        budget_seconds: float,
        locks: Sequence[TableLock],
    ) -> None:
        self._step, self._session, self._control = step, session, control
        self._wanted = locks
        self._ladder = Ladder(read_deadlock_milliseconds(session), budget_seconds)
        self._ends = 0.0
        self.attempts = 0

    def run(self, piece: Callable[[Take], T]) -> T:
        """Run a piece, which calls its argument to take the locks, until it gets them.

        Raises MigrationError with the blockers when the budget is spent.
        """
        deadline = time.monotonic() + self._ladder.budget_seconds
        while True:
            locks = self._resolved()
            in_the_way = self._in_the_way(locks)
            last = time.monotonic() + LOOK_SECONDS * 2 > deadline
            vacuumed = [one for one in in_the_way if one["autovacuum"]]
            displaces = last and bool(vacuumed) and len(vacuumed) == len(in_the_way)
            if not in_the_way or displaces:
                self.attempts += 1
                take = partial(self._take, locks, vacuumed if displaces else [])
                try:
                    return piece(take)
                except RETRYABLE:
                    in_the_way = self._holders(locks)
                pause = self._ladder.pause(self.attempts)
            else:
                pause = LOOK_SECONDS
            reason = self._reason(in_the_way)
            named = tuple(_named(row) for row in in_the_way[:MOST_NAMED])
            self._control.locking(LockTry(blockers=named))
            if time.monotonic() >= deadline:
                raise MigrationError(Cause.LOCK_BUDGET, self._spent(reason))
            left = max(0.0, deadline - time.monotonic() - LOOK_SECONDS)
            self._control.pause(max(LOOK_SECONDS / 2, min(pause, left)), reason)

    def rest(self) -> int:
        """Return the milliseconds that a further lock of this try may be waited for."""
        return max(LEAST_MILLISECONDS, int((self._ends - time.monotonic()) * 1000))

    def _take(self, locks: Sequence[ResolvedLock], vacuumed: Rows) -> None:
        """Take the locks within one rung; that of a table under autovacuum first and longer."""
        names = {row["table"] for row in vacuumed}
        first = [one for one in locks if str(one.table) in names][:1]
        for one in first:
            self._lock(one, self._ladder.displacing())
        rung = self._ladder.rung(self.attempts)
        if locks:
            self._control.locking(LockTry(rung))
        self._ends = time.monotonic() + rung / 1000
        for one in locks:
            if one not in first:
                self._lock(one, self.rest())

    def _lock(self, lock: ResolvedLock, milliseconds: int) -> None:
        table, mode = lock.table.identifier(), sql.SQL(lock.mode)
        self._session.execute(_LOCK.format(sql.Literal(milliseconds), table, mode))

    def _resolved(self) -> list[ResolvedLock]:
        """Return the locks on tables that exist already and belong to the owner."""
        names = [_quoted(one) for one in self._wanted]
        if not names:
            return []
        with self._session.transaction():
            self._step.become_owner(self._session)
            rows = self._session.rows(_RESOLVED, (names,))
        found = {
            Relation(row["schema"], row["name"]): self._wanted[row["number"] - 1].mode
            for row in rows
        }
        return [ResolvedLock(table, mode) for table, mode in sorted(found.items())]

    def _in_the_way(self, locks: Sequence[ResolvedLock]) -> Rows:
        """Return the holders that a try would only queue behind."""
        return [
            row
            for row in self._holders(locks)
            if row["autovacuum"] or row["patient"] or row["seconds"] > OLD_SECONDS
        ]

    def _holders(self, locks: Sequence[ResolvedLock]) -> Rows:
        pairs = [(str(one.table), mode) for one in locks for mode in _CONFLICTS[one.mode]]
        if not pairs:
            return []
        found = {
            "tables": [table for table, _ in pairs],
            "modes": [server_mode(mode) for _, mode in pairs],
            "own": self._session.facts.pid,
        }
        return self._control.look(_HOLDERS, found)

    def _reason(self, holders: Rows) -> str:
        if not holders:
            return "a lock was not free"
        return "; ".join(_named(row) for row in holders[:MOST_NAMED])

    def _spent(self, reason: str) -> str:
        return (
            f"no lock in {self._ladder.budget_seconds:.0f} s and {self.attempts} tries: {reason}; "
            "end that session, or try again later"
        )


def _named(row: Mapping[str, object]) -> str:
    seconds = float(str(row["seconds"]))
    return f"pid {row['pid']} ({row['who']}) holds {row['table']} for {seconds:.0f} s"


def _quoted(lock: TableLock) -> str:
    if not lock.schema:
        return '"' + lock.table.replace('"', '""') + '"'
    return str(Relation(lock.schema, lock.table))
