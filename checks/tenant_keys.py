"""The pairs of `same_tenant` that the foreign keys of tables with a tenant's column make."""

from collections.abc import Sequence

from checks.references import Pair
from postgres.identifiers import Columns, Relation
from postgres.session import Session
from postgres.statement_file import read_statement

_KEYS = read_statement("checks", "tenant_keys", folder="statements")


def tenant_pairs(session: Session, tenant: str) -> Sequence[Pair]:
    """Return a pair for each foreign key between two tables that have the column `tenant`.

    Takes no lock on any of them.
    """
    pairs = (
        Pair(
            Columns(
                Relation(row["child_schema"], row["child_name"]),
                (*row["child_columns"], tenant),
            ),
            Columns(
                Relation(row["parent_schema"], row["parent_name"]),
                (*row["parent_columns"], tenant),
            ),
        )
        for row in session.rows(_KEYS, {"tenant": tenant})
    )
    return list(dict.fromkeys(pairs))
