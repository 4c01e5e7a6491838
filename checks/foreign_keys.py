"""The check `foreign_keys`: rows that break a validated foreign key.

They come from disabled triggers, `session_replication_role`, a bad restore or a damaged index; the
server does not look again.
"""

from collections.abc import Sequence

from checks.check import Header, OptionValues, Row
from checks.constraints import (
    ForeignKey,
    broken_keys,
    broken_rows,
    foreign_keys,
    readable_domain,
)
from checks.module_check import ModuleCheck
from postgres.fencing.trust_domain import TrustDomain
from postgres.session import Session

APART, LEFT_OUT = "apart", "left_out"
"""The options with the keys that other steps verify: the objects of those, and the keys."""
MATCH_FULL = " (MATCH FULL: all columns NULL, or none)"


LARGE_PAGES = 65_536
"""A key of a child of this size (512 MiB) is a step of its own in a run."""


def readable_keys(session: Session, domain: TrustDomain) -> Sequence[ForeignKey]:
    """Return the validated keys of a trust domain whose rows can be compared."""
    keys = foreign_keys(session, domain, validated=True)
    return [key for key in keys if not key.unreadable]


def _ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a database check has one
    left_out = options.get(LEFT_OUT, ())
    assert isinstance(left_out, tuple)  # noqa: S101 - of the plan
    keys = foreign_keys(session, readable_domain(session), validated=True)
    rows = [
        {
            "object": key.label,
            "value": None,
            "summary": f"{key.label}: not checked: {key.unreadable}",
        }
        for key in keys
        if key.unreadable
    ]
    asked = [key for key in keys if not key.unreadable and key.label not in left_out]
    broken = list(broken_keys(session, asked))
    return [*rows, *(row for key in broken for row in rows_of(session, key))]


def rows_of(session: Session, key: ForeignKey) -> Sequence[Row]:
    """Return a row if rows break the key; reads the whole child."""
    count, examples = broken_rows(session, key)
    if not count:
        return ()
    rule = MATCH_FULL if key.match_full else ""
    return [
        {
            "object": key.label,
            "value": count,
            "severity": "high",
            "summary": (
                f"foreign key to {key.pair.parent} broken by {count} row{'s' * (count != 1)}{rule}"
            ),
            "parent": str(key.pair.parent),
            "rows": count,
            "examples": examples,
        }
    ]


CHECK = ModuleCheck(
    Header(
        name="foreign_keys",
        title="Rows break a declared foreign key",
        remedy=(
            "if rows with these keys are in {parent}, REINDEX its key and check again; else "
            "restore the missing rows or remove these"
        ),
        es={
            "title": "Hay filas que violan una clave foránea declarada",
            "summary": "clave foránea a {parent} violada por {rows} filas",
            "remedy": "si {parent} tiene filas con estas claves, REINDEX de su clave y comprobar "
            "de nuevo; si no, restaurar las filas que faltan o quitar estas",
        },
        source="pg_constraint; an anti-join for each validated foreign key",
        reads="rows",
        cost="scan",
    ),
    _ask,
    lambda _options: "an anti-join for each validated foreign key of pg_constraint",
)
