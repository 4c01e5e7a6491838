"""Checks that ask one question of every configured pair of tables."""

from collections.abc import Callable, Sequence

from psycopg import errors, sql

from checks.check import Header, OptionValues, Row
from checks.constraints import readable_domain, uses_builtin_types
from checks.module_check import ModuleCheck
from checks.references import Pair
from domain.finding import Severity
from postgres.fencing.trust_domain import (
    TrustDomain,
    is_responsible,
    outside_domain,
    statement_reason,
    table_owners,
)
from postgres.session import Session

_DRIFT = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction)
"""The declared pair does not fit the database."""


def pair_check(
    header: Header, question: Callable[[Pair], sql.Composed], severity: Severity, summary: str
) -> ModuleCheck:
    """Return the check; `summary` is a template over rows ("7 rows"), child and parent."""

    def ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
        assert session is not None  # noqa: S101 - a database check has one
        domain = readable_domain(session)
        return [row for pair in _pairs(options) if (row := answer(session, domain, pair))]

    def answer(session: Session, domain: TrustDomain, pair: Pair) -> Row | None:
        child = table_owners(session, pair.child.relation)
        if child and not is_responsible(session, domain, min(child)):
            return None
        try:
            found = _count(session, domain, pair, question(pair))
        except errors.InsufficientPrivilege as error:
            return _unchecked(pair, str(error.diag.message_primary))
        except _DRIFT as error:
            wrong = f"{error.diag.message_primary} (checks.{header.name})"
            cure = f"correct the columns of this pair in [[checks.{header.name}]]"
            return {**_unchecked(pair, wrong), "severity": "warning", "remedy": cure}
        if isinstance(found, str):
            return _unchecked(pair, found)
        if not found["rows"]:
            return None
        return {"severity": severity.value, **_finding(pair, found, summary)}

    def describe(options: OptionValues) -> str:
        return (
            ";\n".join(question(pair).as_string(None).strip() for pair in _pairs(options))
            or "no pair is configured"
        )

    return ModuleCheck(header, ask, describe)


def _count(session: Session, domain: TrustDomain, pair: Pair, question: sql.Composed) -> Row | str:
    """Return the answer, or the reason why the rows may not be read."""
    wrong = _not_comparable(session, domain, pair) or statement_reason(session, domain, question)
    if wrong:
        return wrong
    with session.transaction():
        return session.rows(question)[0]


def _not_comparable(session: Session, domain: TrustDomain, pair: Pair) -> str:
    """Return why the rows of a pair may not be read; empty if they may."""
    sides = (pair.child, pair.parent)
    owners = frozenset().union(*(table_owners(session, side.relation) for side in sides))
    if beyond := owners - domain.owners:
        return outside_domain(session, domain, min(beyond))
    if not all(uses_builtin_types(session, side) for side in sides):
        return "a column has a user-defined type, whose code would run"
    return ""


def _finding(pair: Pair, found: Row, summary: str) -> Row:
    count = found["rows"]
    rows = f"{count} rows" if count != 1 else "1 row"
    return {
        "object": f"{pair.child} -> {pair.parent}",
        "value": count,
        "summary": summary.format(rows=rows, child=pair.child, parent=pair.parent),
        "rows": count,
        **_names(pair),
        "examples": found["examples"],
    }


def _names(pair: Pair) -> Row:
    return {"child": str(pair.child), "parent": str(pair.parent)}


def _unchecked(pair: Pair, reason: str) -> Row:
    place = f"{pair.child} -> {pair.parent}"
    return {"object": place, "value": None, "summary": f"not checked: {reason}"}


def _pairs(options: OptionValues) -> Sequence[Pair]:
    pairs = options.get("pairs", ())
    if isinstance(pairs, Sequence):
        return pairs
    return ()
