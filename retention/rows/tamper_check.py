"""Checks around each batch that nothing was changed by the table's owner or by a trigger.

During hours of work a column or a cascading key may be added. And the owner's triggers run in our
session with our login: settings they change would apply to the tables that follow, and rows they
insert into the archive ledger would pass for ours.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from psycopg import sql

from postgres.identifiers import Relation
from postgres.session import Session, TargetError, open_session
from postgres.session_settings import SERVER
from postgres.statement_file import read_statement

_SHAPE = read_statement("retention.rows", "table_shape").format(
    reached=read_statement("retention.rows", "reached")
)
_LOCK = sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE")
_OURS = {"statement_timeout", "lock_timeout"}
"""Settings that we change ourselves for each batch."""
_OTHERS = {"timezone", "client_encoding", "role", "default_transaction_read_only"}
_NAMES = sorted({*SERVER, *_OTHERS} - _OURS)
_SETTINGS = sql.SQL("SELECT ARRAY[{}] AS settings, current_user::pg_catalog.text AS who").format(
    sql.SQL(", ").join(
        sql.SQL("pg_catalog.current_setting({})").format(sql.Literal(name)) for name in _NAMES
    )
)
_AT_ONCE = sql.SQL("SET CONSTRAINTS ALL IMMEDIATE")
_LEDGER = sql.SQL(
    """
    SELECT count(*) = 2 AS there
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sereno' AND c.relname = 'archive_batch'
      AND a.attname IN ('ordinal', 'written_by')
    """
)
_HEIGHT = sql.SQL("SELECT {name} AS name, coalesce(max(ordinal), 0) AS height FROM {table}")
_ABOVE = sql.SQL(
    "(SELECT {name} AS name, ordinal FROM {table} WHERE ordinal > {height} "
    "AND written_by = coalesce({user}, written_by) LIMIT {most})"
)
_UNION = sql.SQL(" UNION ALL ")
MOST_FORGED = 1000
"""Rows that one look at a ledger returns at the most."""
ARCHIVE_LEDGER = ("archive_batch",)


class TamperedError(OSError):
    """Something has been changed; the message says what. The batch is rolled back."""


def table_shape(session: Session, tables: Sequence[Relation]) -> str:
    """Return a value that changes with columns and with foreign keys that refer to the tables."""
    names = {
        "schemas": [table.schema for table in tables],
        "names": [table.name for table in tables],
    }
    return str(session.rows(_SHAPE, names)[0]["shape"])


def has_ledger(session: Session) -> bool:
    """Return whether the archive ledger exists in the form that reveals foreign rows."""
    return bool(session.rows(_LEDGER)[0]["there"])


def read_settings(session: Session) -> dict[str, Any]:
    """Return the settings that no code of an owner may change, and the current user."""
    return session.rows(_SETTINGS)[0]


def changed_settings(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the names of the settings that differ; empty if none does."""
    if before == after:
        return ""
    pairs = zip(_NAMES, before["settings"], after["settings"], strict=True)
    return ", ".join(name for name, was, is_now in pairs if was != is_now) or "current_user"


def fire_deferred_triggers(session: Session) -> None:
    """Make the deferred triggers of the transaction run now."""
    session.execute(_AT_ONCE)


def ledger_heights(session: Session, ledger: Sequence[str]) -> dict[str, int]:
    """Return the highest ordinal of each table of a ledger in the schema `sereno`."""
    parts = [
        _HEIGHT.format(name=sql.Literal(table), table=sql.Identifier("sereno", table))
        for table in ledger
    ]
    return {row["name"]: int(row["height"]) for row in session.rows(_UNION.join(parts))}


def rows_above(
    session: Session, heights: Mapping[str, int], user: str | None = None
) -> set[tuple[str, int]]:
    """Return table and ordinal of the rows above the heights, of one writer or of all."""
    rows = session.rows(rows_above_query(heights, user))
    return {(row["name"], int(row["ordinal"])) for row in rows}


def rows_above_query(heights: Mapping[str, int], user: str | None = None) -> sql.Composed:
    """Return the query of `rows_above`, for another session."""
    parts = [
        _ABOVE.format(
            name=sql.Literal(table),
            table=sql.Identifier("sereno", table),
            height=sql.Literal(height),
            user=sql.Literal(user),
            most=sql.Literal(MOST_FORGED),
        )
        for table, height in heights.items()
    ]
    return _UNION.join(parts)


class TamperCheck:
    """Compares table shapes, session settings and the ledger before and after each batch."""

    def __init__(
        self, session: Session, tables: Sequence[Relation], planned: str, *, tree: bool
    ) -> None:
        """Record the state; `planned` is the shape at planning, `tree` includes partitions."""
        self._session, self._tables, self._planned = session, tables, planned
        only = sql.SQL("" if tree else "ONLY ")
        self._locks = [_LOCK.format(sql.Composed([only, table.identifier()])) for table in tables]
        self._settings = read_settings(session)
        self._ledger = has_ledger(session)
        self._heights: dict[str, int] = {}
        self._written = 0
        self._second: Session | None = None

    def open_second_session(self, stack: ExitStack) -> None:
        """Open the session that looks after each COMMIT; the stack closes it.

        Raises TamperedError if that is impossible: then nothing may be deleted.
        """
        if not self._ledger:
            return
        opened = open_session(self._session.target, self._session.login, "ledger", read_only=True)
        try:
            self._second = stack.enter_context(opened)
        except TargetError as error:
            raise TamperedError(
                f"{self._tables[0]}: needs a second session of the login, which looks at the "
                f"ledger after each COMMIT: {error}"
            ) from None

    def before(self) -> None:
        """Lock the tables in ROW EXCLUSIVE mode, then compare their shape.

        Runs before the snapshot of the batch is taken.
        """
        for lock in self._locks:
            self._session.execute(lock)
        if self._planned and table_shape(self._session, self._tables) != self._planned:
            names = ", ".join(str(table) for table in self._tables)
            changed = "columns or foreign keys have changed since planning"
            raise TamperedError(f"{names}: {changed}; the next run plans again")
        if self._ledger:
            self._heights = ledger_heights(self._session, ARCHIVE_LEDGER)

    def after(self, written: int) -> None:
        """Verify that only our `written` rows were added to the ledger and that no setting changed.

        Deferred triggers are made to run first.
        """
        fire_deferred_triggers(self._session)
        if changed := changed_settings(self._settings, read_settings(self._session)):
            raise TamperedError(
                f"{self._tables[0]}: a trigger changed {changed}; nothing was deleted"
            )
        if self._ledger and len(rows_above(self._session, self._heights)) != written:
            raise TamperedError(
                f"{self._tables[0]}: a trigger wrote into sereno.archive_batch; nothing was deleted"
            )
        self._written = written

    def committed(self) -> None:
        """Verify after COMMIT, in the other session, that the ledger has no further row of ours.

        What a trigger leaves for COMMIT (a cursor WITH HOLD, a deferred trigger) runs after the
        last look of the transaction.
        """
        if self._second is None:
            return
        found = len(rows_above(self._second, self._heights, self._session.facts.user))
        if found != self._written:
            raise TamperedError(
                f"{self._tables[0]}: at COMMIT, code of its owner wrote into sereno.archive_batch "
                f"(rows: {found - self._written}, ordinal above {max(self._heights.values())}, "
                "written by "
                f"{self._session.facts.user}); examine its triggers, then delete those rows as an "
                "administrator: sereno archive verify names them"
            )
