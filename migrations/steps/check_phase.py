"""The checks of a phase: queries of violating rows, and values that stay the same."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from domain.cause import Cause
from execution.control import StepControl
from migrations import ledger
from migrations.catalog_state import difference, read_catalog
from migrations.format import Phase, Query
from migrations.ledger import Checked
from migrations.state import State
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.session import Session

MOST_KEYS = 20
MOST_LINES = 5
LONGEST_KEY = 200

_VIOLATIONS = sql.SQL(
    "WITH v AS MATERIALIZED ({query}\n) SELECT (SELECT count(*) FROM v) AS violations, "
    "coalesce((SELECT jsonb_agg(to_jsonb(s)) FROM (SELECT * FROM v LIMIT {most}) s), '[]') "
    "AS keys"
)
_SAME = sql.SQL(
    "WITH v AS MATERIALIZED ({query}\n) SELECT (SELECT count(*) FROM v) AS rows, "
    "(SELECT pg_catalog.md5(coalesce(string_agg(v::text, E'\\n' ORDER BY v::text), '')) FROM v) "
    "AS md5"
)


def violations(session: Session, query: Query) -> Checked:
    """Run one `@check` in the transaction of the session; keep at most 20 of its keys."""
    began = time.monotonic()
    statement = _VIOLATIONS.format(query=_text(query), most=sql.Literal(MOST_KEYS))
    row = session.rows(statement, keep=False)[0]
    keys = [{name: _cut(value) for name, value in key.items()} for key in row["keys"]]
    milliseconds = int((time.monotonic() - began) * 1000)
    ok = row["violations"] == 0
    return Checked(query.name, "check", keys, row["violations"], milliseconds, ok=ok)


def same_value(session: Session, query: Query) -> Any:  # noqa: ANN401 - a value of JSON
    """Return the value of one `@same`: its rows hashed, of an EXPLAIN its lines."""
    if query.statement.lstrip()[:7].upper() == "EXPLAIN":
        rows = session.rows(query.statement.encode(), keep=False)
        return [str(next(iter(row.values()))) for row in rows]
    row = session.rows(_SAME.format(query=_text(query)), keep=False)[0]
    return {"rows": row["rows"], "md5": row["md5"]}


def _text(query: Query) -> sql.SQL:
    return sql.SQL(query.statement)


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST_KEY:
        return value[:LONGEST_KEY] + "…"
    return value


def run_queries(
    session: Session, queries: Sequence[Query], before: Mapping[str, Any]
) -> list[Checked]:
    """Run the queries of a check in the transaction of the session."""
    results = []
    for query in queries:
        if not query.same:
            results.append(violations(session, query))
        elif query.name in before:
            value = same_value(session, query)
            results.append(Checked(query.name, "same", value, ok=value == before[query.name]))
    return results


def sentence_of(results: Sequence[Checked], queries: Sequence[Query]) -> str:
    """Return the violated checks, in words; empty without any but warnings. Pure."""
    warned = {query.name for query in queries if query.warn}
    wrong = []
    for one in results:
        if one.ok or one.name in warned:
            continue
        if one.kind == "same":
            wrong.append(f"{one.name} is not the same as before the phase")
        else:
            first = f", the first {key_text(one.value[0])}" if one.value else ""
            rows = "1 row" if one.violations == 1 else f"{one.violations:,} rows"
            wrong.append(f"{one.name}: {rows}{first}")
    return "; ".join(wrong)


def key_text(key: object) -> str:
    """Return the key of a violating row in words: `id 7, tenant 3`."""
    if isinstance(key, Mapping):
        return ", ".join(f"{name} {value}" for name, value in key.items())
    return str(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPhase(MigrationStep):
    """Run the checks of a phase in one snapshot; record the phase as complete if asked to."""

    queries: tuple[Query, ...]
    ends: State | None = None
    """The state of the migration afterwards; None records none."""
    completes: Phase | None = None
    """The phase that is complete after them."""
    ended: str = ""
    """The reason recorded with it."""
    undone: Phase | None = None
    """The phase that was rolled back: the catalog has to be as it was before."""
    name: str = "check"

    def statement(self) -> str:
        """Return the names of the checks."""
        return "-- " + (", ".join(one.name for one in self.queries) or "no check")

    def work(self, session: Session, control: StepControl) -> int:
        """Run them, record the results, and raise MigrationError for violations."""
        phase = self.phase.value if self.phase else "pre"
        before = ledger.baseline(session, self.ref, self.phase) if self.phase else {}
        with self.reading(session, control):
            results = run_queries(session, self.queries, before)
        wrong = sentence_of(results, self.queries)
        if not wrong:
            self._require_restored(session)
        with session.transaction():
            for one in results:
                ledger.add_check(session, self.ref, phase, one)
            ledger.add_check(session, self.ref, phase, Checked("phase", "phase", [], ok=not wrong))
            if not wrong and self.ends is not None:
                ledger.add_state(
                    session, self.ref, self.completes or self.complete, self.ends, self.ended
                )
        if wrong:
            raise MigrationError(Cause.CHECK_FAILED, wrong)
        return 0

    def _require_restored(self, session: Session) -> None:
        """Raise MigrationError if the catalog is not as before the phase that was undone."""
        if self.undone is None:
            return
        kept = ledger.snapshot_before(session, self.ref, self.undone)
        if kept is None:
            return
        now = read_catalog(session, self.ref.role)
        if differences := difference(kept, now):
            shown = "; ".join(differences[:MOST_LINES])
            raise MigrationError(
                Cause.ROLLBACK_FAILED,
                f"the catalog is not as it was before {self.undone.value}: {shown}",
            )
