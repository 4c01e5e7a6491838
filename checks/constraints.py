"""Declared constraints, read from the catalog for the checks that verify them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from psycopg import sql

from checks.check import NotSeen
from checks.references import (
    EXAMPLES,
    Pair,
    count_rows,
    half_null,
    if_any,
    uncovered,
    unmatched,
)
from postgres.fencing.trust_domain import (
    TrustDomain,
    hidden_rows,
    is_responsible,
    outside_domain,
    read_trust_domain,
)
from postgres.identifiers import Columns, Relation, quote_identifier
from postgres.session import Session
from postgres.statement_file import read_statement

_FOREIGN_KEYS = read_statement("checks", "foreign_keys", folder="statements")
_LEAVES = read_statement("checks", "leaf_partitions", folder="statements")


MOST_RELATIONS, MOST_PAGES = 100, 8192
"""Tables that one statement about several keys locks, with all their indexes, and pages that it
reads: it ends within a second or two."""
_PLAIN = sql.SQL(
    """
    SELECT coalesce(bool_and(
             b.typnamespace = 'pg_catalog'::regnamespace
             OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = b.oid
                          AND d.deptype = 'e')
           ), true) AS plain
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    WHERE n.nspname = %s AND c.relname = %s AND a.attname = ANY (%s)
    """
)


def uses_builtin_types(session: Session, columns: Columns) -> bool:
    """Return whether comparing and printing these columns runs no user's code.

    Only types of the server or of an extension qualify: the casts and operators of a user's type
    would run with this login's rights.
    """
    names = (columns.relation.schema, columns.relation.name, list(columns.names))
    return bool(session.rows(_PLAIN, names)[0]["plain"])


def readable_domain(session: Session) -> TrustDomain:
    """Return the trust domain whose rows may be read. Raises NotSeen."""
    domain = read_trust_domain(session)
    if domain.wrong:
        raise NotSeen(domain.wrong)
    return domain


def constraint_label(table: Relation, constraint: str) -> str:
    """Return a constraint's name with its table: constraint names repeat across tables."""
    return f"{table}.{quote_identifier(constraint)}"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A declared foreign key, of partitioned tables the root's.

    `unreadable` says why its rows cannot be compared; empty if they can.
    """

    name: str
    unreadable: str
    pair: Pair
    match_full: bool = False
    period: bool = False
    """Whether the last columns are ranges, and the parents' must cover the child's (PERIOD)."""
    pages: int = 0
    """Pages of the child with its partitions, as of the last VACUUM or ANALYZE."""
    relations: int = 2
    """The tables and partitions of both sides, which a look at it locks."""
    parent_pages: int = 0
    part: str = ""
    """The partition or range of blocks that is looked at; empty for the whole key."""
    table: Relation | None = None
    """The table that declares it, if that is not the child of the pair but its parent."""

    @property
    def label(self) -> str:
        """Return its name with its table, and the part that is looked at."""
        return constraint_label(self.table or self.pair.child.relation, self.name) + self.part

    def in_partition(self, leaf: Relation, pages: int) -> "ForeignKey":
        """Return the part of the key in one partition of the child."""
        child = replace(self.pair.child, relation=leaf)
        pair = replace(self.pair, child=child, child_only=True)
        table, part = self.pair.child.relation, f" in {leaf}"
        return replace(self, pair=pair, pages=pages, part=part, table=table)

    def in_blocks(self, first: int, last: int | None, size: int) -> "ForeignKey":
        """Return the part of the key in a range of blocks; `size` names it, the last one too."""
        pair = replace(self.pair, blocks=(first, last))
        part = f"{self.part} blocks {first} to {first + size - 1}"
        return replace(self, pair=pair, pages=min(size, self.pages - first), part=part)


def foreign_keys(session: Session, domain: TrustDomain, *, validated: bool) -> Sequence[ForeignKey]:
    """Return the enforced foreign keys that the session reports on; takes no lock on any table."""
    wanted = {"owners": list(domain.owners), "validated": validated}
    rows = session.rows(_FOREIGN_KEYS, wanted)
    return [
        _foreign_key(session, row, domain)
        for row in rows
        if is_responsible(session, domain, row["owner"])
    ]


def _foreign_key(session: Session, row: dict[str, Any], domain: TrustDomain) -> ForeignKey:
    sides: tuple[Literal["child"], Literal["parent"]] = ("child", "parent")
    child, parent = (
        Columns(Relation(row[f"{side}_schema"], row[f"{side}_name"]), tuple(row[f"{side}_columns"]))
        for side in sides
    )
    operators = tuple((schema, name) for schema, name in row["operators"])
    unreadable = ""
    if row["outside"]:
        unreadable = outside_domain(session, domain, row["outside"])
    elif not row["readable"]:
        unreadable = "no privilege"
    elif row["hidden"]:
        unreadable = hidden_rows(session)
    elif not row["plain"]:
        unreadable = "a user-defined type"
    pair = Pair(child, parent, operators, row["child_only"], row["parent_only"])
    return ForeignKey(
        row["name"],
        unreadable,
        pair,
        row["match_full"],
        row["period"],
        row["pages"],
        row["relations"],
        row["parent_pages"],
    )


def leaf_keys(session: Session, key: ForeignKey) -> Sequence[ForeignKey]:
    """Return the parts of a key in the partitions of its child; takes no lock on any of them.

    The whole key if a partition cannot be read by itself.
    """
    child = key.pair.child.relation
    rows = session.rows(_LEAVES, (child.schema, child.name))
    if not all(row["readable"] for row in rows):
        return [key]
    return [key.in_partition(Relation(row["schema"], row["name"]), row["pages"]) for row in rows]


def _conditions(key: ForeignKey) -> Iterator[sql.Composed]:
    """Yield the conditions on rows that break a key."""
    yield uncovered(key.pair) if key.period else unmatched(key.pair)
    if key.match_full and len(key.pair.child.names) > 1:
        yield half_null(key.pair)


def questions_of(key: ForeignKey) -> Sequence[sql.Composed]:
    """Return the statements that count the rows that break a key."""
    return [count_rows(key.pair, condition) for condition in _conditions(key)]


def broken_rows(session: Session, key: ForeignKey) -> tuple[int, list[str]]:
    """Count the rows that break a foreign key; return some of their keys too.

    Its locks are released: those of thousands of keys do not fit into the server's lock table.
    """
    with session.transaction(undone=True):
        found = [session.rows(question)[0] for question in questions_of(key)]
    examples = [example for row in found for example in row["examples"]]
    return sum(row["rows"] for row in found), examples[:EXAMPLES]


def broken_keys(session: Session, keys: Sequence[ForeignKey]) -> Iterator[ForeignKey]:
    """Yield the keys that rows break; several are asked at once, and their locks are released."""
    for some in _in_groups(keys):
        questions = [
            if_any(key.pair, condition, number)
            for number, key in enumerate(some)
            for condition in _conditions(key)
        ]
        with session.transaction(undone=True):
            rows = session.rows(sql.SQL("\nUNION ALL ").join(questions), keep=False)
        yield from (some[number] for number in sorted({row["number"] for row in rows}))


def _in_groups(keys: Sequence[ForeignKey]) -> Iterator[Sequence[ForeignKey]]:
    """Yield keys in groups that lock few relations and read few pages together."""
    some: list[ForeignKey] = []
    relations = pages = 0
    for key in keys:
        relations += key.relations
        pages += key.pages + key.parent_pages
        if some and (relations > MOST_RELATIONS or pages > MOST_PAGES):
            yield some
            some, relations, pages = [], key.relations, key.pages + key.parent_pages
        some.append(key)
    if some:
        yield some
