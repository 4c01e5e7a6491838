"""The check `foreign_keys`: rows that break a validated foreign key.

They come from disabled triggers, `session_replication_role`, a bad restore or a damaged index; the
server does not look again.
"""

from collections.abc import Sequence

from checks.check import Header, OptionValues, Row
from checks.constraints import broken_rows, constraint_label, foreign_keys, readable_domain
from checks.module_check import ModuleCheck
from postgres.session import Session

MATCH_FULL = " (MATCH FULL: all columns NULL, or none)"


def _ask(session: Session | None, _options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a database check has one
    rows: list[Row] = []
    for key in foreign_keys(session, readable_domain(session), validated=True):
        name = constraint_label(key.pair.child.relation, key.name)
        if key.unreadable:
            summary = f"{name}: not checked: {key.unreadable}"
            rows.append({"object": name, "value": None, "summary": summary})
            continue
        count, examples = broken_rows(session, key)
        if count:
            rows.append(
                {
                    "object": name,
                    "value": count,
                    "severity": "high",
                    "summary": (
                        f"foreign key to {key.pair.parent} broken by {count} "
                        f"row{'s' if count != 1 else ''}{MATCH_FULL if key.match_full else ''}"
                    ),
                    "parent": str(key.pair.parent),
                    "rows": count,
                    "examples": examples,
                }
            )
    return rows


CHECK = ModuleCheck(
    Header(
        name="foreign_keys",
        title="Rows break a declared foreign key",
        remedy=(
            "REINDEX the key of {parent} and check again; then restore the missing rows or "
            "remove these"
        ),
        es={
            "title": "Hay filas que violan una clave foránea declarada",
            "summary": "clave foránea a {parent} violada por {rows} filas",
            "remedy": "REINDEX de la clave de {parent} y comprobar de nuevo; después restaurar las "
            "filas que faltan o quitar estas",
        },
        source="pg_constraint; an anti-join for each validated foreign key",
        reads="rows",
        cost="scan",
    ),
    _ask,
    lambda _options: "an anti-join for each validated foreign key of pg_constraint",
)
