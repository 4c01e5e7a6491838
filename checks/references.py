"""Queries over pairs of tables: child rows whose parent is missing or belongs to another tenant.

A row with a NULL refers to nothing, but for MATCH FULL, where all columns are NULL or none. The
result is a count and some keys, never rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from postgres.identifiers import Columns, Relation

EXAMPLES, LONGEST_EXAMPLE = 5, 100
"""Keys given as examples, and the most characters of a column of each."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Columns of a child and the parent columns that they refer to, in the same order."""

    child: Columns
    parent: Columns
    operators: tuple[tuple[str, str], ...] = ()
    """Schema and name of the equality operator of each pair; pg_catalog's `=` by default."""
    child_only: bool = False
    parent_only: bool = False
    """Whether the rows of inheriting tables do not count: a foreign key does not bind them."""
    blocks: tuple[int, int | None] | None = None
    """The first and last block of the child's rows that are read; None for the end, or for all."""

    @property
    def from_child(self) -> sql.Composed:
        """Return the child in a FROM clause."""
        return _table(self.child.relation, only=self.child_only)

    @property
    def from_parent(self) -> sql.Composed:
        """Return the parent in a FROM clause."""
        return _table(self.parent.relation, only=self.parent_only)


def _table(table: Relation, *, only: bool) -> sql.Composed:
    return sql.SQL("ONLY {}" if only else "{}").format(table.identifier())


_COUNT = sql.SQL(
    """
    WITH bad AS MATERIALIZED (SELECT {keys} AS key FROM {child} c WHERE {condition})
    SELECT count(*) AS rows, ARRAY(SELECT key FROM bad ORDER BY key
      LIMIT {examples}) AS examples FROM bad
    """
)


_IF_ANY = sql.SQL("SELECT {} AS number WHERE EXISTS (SELECT FROM {} c WHERE {})")


def unmatched_rows(pair: Pair) -> sql.Composed:
    """Return a count of child rows, all columns set, without an equal parent row."""
    return count_rows(pair, unmatched(pair))


def unmatched(pair: Pair) -> sql.Composed:
    """Return the condition on child rows, all columns set, without an equal parent row."""
    names = pair.child.names
    missing = sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE {})").format(
        pair.from_parent, _equal(pair, range(len(names)))
    )
    return sql.SQL(" AND ").join([*_set(names), missing])


def half_null(pair: Pair) -> sql.Composed:
    """Return the condition on rows with some columns NULL, some not: they break MATCH FULL."""
    names = [sql.SQL("c.{}").format(sql.Identifier(name)) for name in pair.child.names]
    return sql.SQL("pg_catalog.num_nulls({0}) BETWEEN 1 AND {1}").format(
        sql.SQL(", ").join(names), sql.Literal(len(names) - 1)
    )


def uncovered(pair: Pair) -> sql.Composed:
    """Return the condition on rows whose range, in the last column, the parents do not cover.

    The server's own question (ri_triggers.c): the ranges of the parent rows that are equal in the
    other columns, taken together, contain that of the child.
    """
    names = pair.child.names
    last = len(names) - 1
    ranges = {
        "parent": sql.Identifier(pair.parent.names[last]),
        "child": sql.Identifier(names[last]),
    }
    covered = sql.SQL(
        "EXISTS (SELECT FROM {table} p WHERE {equal}"
        " AND p.{parent} OPERATOR(pg_catalog.&&) c.{child}"
        " HAVING c.{child} OPERATOR(pg_catalog.<@) pg_catalog.range_agg(p.{parent}))"
    ).format(table=pair.from_parent, equal=_equal(pair, range(last)), **ranges)
    return sql.SQL(" AND ").join([*_set(names), sql.SQL("NOT {}").format(covered)])


def crossed_rows(pair: Pair) -> sql.Composed:
    """Return a count of child rows whose parent matches in all columns but the last, the tenant."""
    names = pair.child.names
    last = len(names) - 1
    other = sql.SQL("EXISTS (SELECT FROM {} p WHERE {} AND p.{} <> c.{})").format(
        pair.from_parent,
        _equal(pair, range(last)),
        sql.Identifier(pair.parent.names[last]),
        sql.Identifier(names[last]),
    )
    return count_rows(pair, sql.SQL(" AND ").join([*_set(names), other]))


def count_rows(pair: Pair, condition: sql.Composable) -> sql.Composed:
    """Return a count of child rows that fulfil a condition, with some of their keys."""
    keys = sql.SQL("concat_ws(', ', {})").format(
        sql.SQL(", ").join(
            sql.SQL("left(c.{}::text, {})").format(
                sql.Identifier(name), sql.Literal(LONGEST_EXAMPLE)
            )
            for name in pair.child.names
        )
    )
    return _COUNT.format(
        keys=keys,
        child=pair.from_child,
        condition=sql.SQL(" AND ").join([*_in_blocks(pair), condition]),
        examples=sql.Literal(EXAMPLES),
    )


def if_any(pair: Pair, condition: sql.Composable, number: int) -> sql.Composed:
    """Return a query of one row, a number, if a child row fulfils a condition; else of none."""
    return _IF_ANY.format(sql.Literal(number), pair.from_child, condition)


def _in_blocks(pair: Pair) -> Iterator[sql.Composable]:
    """Yield the conditions of a TID range scan over the child's blocks."""
    if pair.blocks is None:
        return
    first, last = pair.blocks
    yield sql.SQL("c.ctid >= {}::tid").format(sql.Literal(f"({first},0)"))
    if last is not None:
        yield sql.SQL("c.ctid < {}::tid").format(sql.Literal(f"({last + 1},0)"))


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
    """Return an operator name; it cannot be quoted, so its alphabet is verified (manual, 4.1.3)."""
    if not name or set(name) - set("+-*/<>=~!@#%^&|`?"):
        raise ValueError(f"{name!r} is no operator")
    return sql.SQL(name)
