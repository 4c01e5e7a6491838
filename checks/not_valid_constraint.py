"""The check `not_valid_constraint`: NOT VALID constraints, with the number of rows that break them.

An expression is evaluated only if its tree in the catalog contains nothing but immutable functions
of the server: a user's function, cast or domain would run with this login's rights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from checks.check import Header, OptionValues, Row
from checks.constraints import broken_rows, constraint_label, foreign_keys, readable_domain
from checks.module_check import ModuleCheck
from postgres.fencing.trust_domain import is_responsible
from postgres.identifiers import Relation, quote_identifier
from postgres.session import Session
from postgres.statement_file import read_statement

_CHECKS = read_statement("checks", "not_valid_checks", folder="statements")
_BREAKING = sql.SQL("SELECT count(*) AS rows FROM {only}{table} WHERE NOT ({expression})")


def _ask(session: Session | None, _options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a database check has one
    domain = readable_domain(session)
    rows = [
        _row(row, _count(session, row))
        for row in session.rows(_CHECKS, {"owners": list(domain.owners)})
        if is_responsible(session, domain, row["owner"])
    ]
    for key in foreign_keys(session, domain, validated=False):
        broken = None if key.unreadable else broken_rows(session, key)[0]
        child = key.pair.child.relation
        declared = {"name": key.name, "schema": child.schema, "table": child.name, "domain": None}
        rows.append(_row(declared, broken))
    return rows


def _count(session: Session, row: dict[str, Any]) -> int | None:
    if not row["countable"]:
        return None
    question = _BREAKING.format(
        only=sql.SQL("ONLY " if row["only"] else ""),
        table=Relation(row["schema"], row["table"]).identifier(),
        expression=sql.SQL(row["expression"]),
    )
    return int(session.rows(question)[0]["rows"])


def _row(constraint: Mapping[str, Any], broken: int | None) -> Row:
    """Return the row of a constraint of a table or of a domain."""
    advice = {None: "its rows could not be counted", 0: "no row breaks it: validate it"}.get(
        broken, f"broken by {broken} row{'s' if broken != 1 else ''}"
    )
    spanish = {None: "sus filas no se pudieron contar", 0: "ninguna fila la incumple: validarla"}
    owner = Relation(constraint["schema"], constraint["table"])
    kind = "DOMAIN" if constraint["domain"] else "TABLE"
    name = quote_identifier(constraint["name"])
    return {
        "object": constraint_label(owner, constraint["name"]),
        "value": broken,
        "severity": "high" if broken else "warning",
        "advice": advice,
        "advice_es": spanish.get(broken, f"la incumplen {broken} fila{'s' * (broken != 1)}"),
        "table": str(owner),
        "constraint": name,
        "cure": f"ALTER {kind} {owner} VALIDATE CONSTRAINT {name};",
    }


CHECK = ModuleCheck(
    Header(
        name="not_valid_constraint",
        title="A constraint is NOT VALID: it holds for new rows only",
        summary="constraint {constraint} of {table} is NOT VALID; {advice}",
        remedy="correct the rows, then {cure}",
        es={
            "title": "Una restricción es NOT VALID: solo vale para filas nuevas",
            "summary": "la restricción {constraint} de {table} es NOT VALID; {advice_es}",
            "remedy": "corregir las filas y luego {cure}",
        },
        source="PostgreSQL manual, ALTER TABLE, NOT VALID",
        reads="rows",
        cost="scan",
    ),
    _ask,
    lambda _options: (
        "pg_constraint WHERE NOT convalidated, and a count of the rows that break each"
    ),
)
