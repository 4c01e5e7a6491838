"""Questions over pairs of tables: rows of a child whose parent is missing, or belongs to somebody else.

NULL means "refers to nobody", as in a foreign key of MATCH SIMPLE. The answer is a count and a few keys, never rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from postgres.identifiers import Columns

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Columns of a child and the columns of the parent that they point to, in the same order."""

    child: Columns
    parent: Columns
    operators: tuple[tuple[str, str], ...] = ()
    """Schema and name of the equality of each pair; by default pg_catalog's `=`."""


_COUNT = sql.SQL(
    """
    WITH bad AS MATERIALIZED (SELECT {keys} AS key FROM {child} c WHERE {condition})
    SELECT count(*) AS rows, ARRAY(SELECT key FROM bad ORDER BY key LIMIT {examples}) AS examples FROM bad
    """
)


def unmatched(pair: Pair) -> sql.Composed:
    """Count the child's rows, all of their columns set, that no parent row equals."""
    names = pair.child.names
    missing = sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE {})").format(
        pair.parent.relation.identifier(), _equal(pair, range(len(names)))
    )
    return _count(pair, sql.SQL(" AND ").join([*_set(names), missing]))


def crossed(pair: Pair) -> sql.Composed:
    """Count the child's rows whose parent is there by all columns but the last, the tenant, and differs in that."""
    names = pair.child.names
    last = len(names) - 1
    other = sql.SQL("EXISTS (SELECT FROM {} p WHERE {} AND p.{} <> c.{})").format(
        pair.parent.relation.identifier(),
        _equal(pair, range(last)),
        sql.Identifier(pair.parent.names[last]),
        sql.Identifier(names[last]),
    )
    return _count(pair, sql.SQL(" AND ").join([*_set(names), other]))


def _count(pair: Pair, condition: sql.Composable) -> sql.Composed:
    keys = sql.SQL("concat_ws(', ', {})").format(
        sql.SQL(", ").join(sql.SQL("c.{}::text").format(sql.Identifier(name)) for name in pair.child.names)
    )
    return _COUNT.format(
        keys=keys, child=pair.child.relation.identifier(), condition=condition, examples=sql.Literal(EXAMPLES)
    )


def _set(names: Sequence[str]) -> list[sql.Composable]:
    return [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in names]


def _equal(pair: Pair, columns: range) -> sql.Composable:
    operators = pair.operators or (("pg_catalog", "="),) * len(pair.child.names)
    return sql.SQL(" AND ").join(
        sql.SQL("p.{} OPERATOR({}.{}) c.{}").format(
            sql.Identifier(pair.parent.names[number]),
            sql.Identifier(operators[number][0]),
            _operator(operators[number][1]),
            sql.Identifier(pair.child.names[number]),
        )
        for number in columns
    )


def _operator(name: str) -> sql.SQL:
    """An operator's name is of a small alphabet (manual, 4.1.3) and cannot be quoted."""
    if not name or set(name) - set("+-*/<>=~!@#%^&|`?"):
        raise ValueError(f"{name!r} is no operator")
    return sql.SQL(name)
