"""Checks that ask one question of every configured pair of tables."""

from collections.abc import Callable, Sequence

from psycopg import errors, sql

from checks.check import Header, OptionValues, Row
from checks.constraints import uses_builtin_types
from checks.module_check import ModuleCheck
from checks.references import Pair
from domain.finding import Severity
from postgres.session import Session

_DRIFT = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InsufficientPrivilege,
)


def pair_check(
    header: Header, question: Callable[[Pair], sql.Composed], severity: Severity, summary: str
) -> ModuleCheck:
    """Return the check; `summary` is a template over rows ("7 rows"), child and parent."""

    def ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
        assert session is not None  # noqa: S101 - a database check has one
        return [row for pair in _pairs(options) if (row := answer(session, pair))]

    def answer(session: Session, pair: Pair) -> Row | None:
        told = f"{pair.child} -> {pair.parent}"
        if not (
            uses_builtin_types(session, pair.child) and uses_builtin_types(session, pair.parent)
        ):
            return {
                "object": told,
                "value": None,
                "summary": "not checked: a column has a user-defined type, whose code would run",
            }
        try:
            with session.transaction():
                found = session.rows(question(pair))[0]
        except _DRIFT as error:
            return {
                "object": told,
                "value": None,
                "summary": f"not checked: {error.diag.message_primary}",
            }
        if not found["rows"]:
            return None
        count = found["rows"]
        words = {
            "rows": f"{count} row{'s' if count > 1 else ''}",
            "child": pair.child,
            "parent": pair.parent,
        }
        return {
            "object": told,
            "value": count,
            "severity": severity.value,
            "summary": summary.format(**words),
            "child": str(pair.child),
            "parent": str(pair.parent),
            "examples": found["examples"],
        }

    def describe(options: OptionValues) -> str:
        return (
            ";\n".join(question(pair).as_string(None).strip() for pair in _pairs(options))
            or "no pair is configured"
        )

    return ModuleCheck(header, ask, describe)


def _pairs(options: OptionValues) -> Sequence[Pair]:
    pairs = options.get("pairs", ())
    if isinstance(pairs, Sequence):
        return pairs
    return ()
