"""Tables whose rows refer to leaving rows by foreign key, and leave before them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from psycopg import sql

from postgres.identifiers import ColumnTypes, Relation, quote_identifier
from postgres.session import Query, Session
from postgres.statement_file import read_statement

_MEMBERS = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'p' AS partitioned,
           EXISTS (SELECT FROM pg_catalog.pg_index x
                   WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
                     AND x.indpred IS NULL AND x.indexprs IS NULL) AS keyed,
           ARRAY(SELECT ARRAY[f.attname::text, pg_catalog.format_type(f.atttypid, f.atttypmod)]
                 FROM pg_catalog.pg_attribute f
                 WHERE f.attrelid = c.oid AND f.attnum > 0 AND NOT f.attisdropped
                   AND f.attgenerated = ''
                 ORDER BY f.attnum) AS columns
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname::text, c.relname::text) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
      AND c.relkind IN ('r', 'p')
    """
)
_KEYS = read_statement("retention.rows", "dependents_keys")
_OUTSIDE = read_statement("retention.rows", "tables_outside").format(
    reached=read_statement("retention.rows", "reached")
)
_REFERENCED = read_statement("retention.rows", "tables_referenced")
_DELETE = sql.SQL("DELETE FROM {table} t WHERE {reach}")
_EXISTS = sql.SQL("EXISTS (SELECT FROM {table} {alias} WHERE {pairs} AND {reach})")
_PAIR = sql.SQL("{parent} = {child}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: the referenced table, and the pairs of columns."""

    to: Relation
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DependentTable:
    """A dependent table and its foreign keys to the other tables."""

    table: Relation
    partitioned: bool = False
    columns: ColumnTypes = ()
    keyed: bool = True
    """Whether a unique index identifies its rows."""
    links: tuple[Reference, ...] = ()

    def named(self) -> sql.Composed:
        """Return its name for a FROM clause; inheritance children are excluded by ONLY."""
        return sql.Composed([sql.SQL("" if self.partitioned else "ONLY "), self.table.identifier()])


@dataclass(frozen=True, slots=True)
class Dependents:
    """The dependent tables, the last to refer first; `wrong` says why nothing may leave them."""

    head: Relation
    children: tuple[DependentTable, ...] = ()
    wrong: str = ""
    _members: dict[Relation, DependentTable] = field(default_factory=dict, repr=False)

    def delete(self, child: DependentTable, chosen: sql.Composable) -> sql.Composed:
        """Return the DELETE of the rows that refer, directly or not, to the rows at `chosen`."""
        return _DELETE.format(table=child.named(), reach=self._reach(child, "t", chosen))

    def _reach(self, member: DependentTable, alias: str, chosen: sql.Composable) -> sql.Composed:
        if member.table == self.head:
            return sql.SQL("{}.ctid = ANY ({})").format(sql.Identifier(alias), chosen)
        ways = []
        for number, link in enumerate(member.links):
            parent, name = self._members[link.to], f"{alias}{number}"
            pairs = [
                _PAIR.format(
                    parent=sql.Identifier(name, parent_column),
                    child=sql.Identifier(alias, child_column),
                )
                for child_column, parent_column in link.pairs
            ]
            reach = self._reach(parent, name, chosen)
            ways.append(
                _EXISTS.format(
                    table=parent.named(),
                    alias=sql.Identifier(name),
                    pairs=sql.SQL(" AND ").join(pairs),
                    reach=reach,
                )
            )
        return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def outside_reason(session: Session, tables: Sequence[Relation], owners: frozenset[str]) -> str:
    """Return why rows may not leave: a deletion would run code of an owner outside the domain."""
    return _outside(session, _OUTSIDE, "a deletion", tables, owners)


def receiving_reason(session: Session, table: Relation, owners: frozenset[str]) -> str:
    """Return why rows may not come in: it would run code of an owner outside the domain."""
    return _outside(session, _REFERENCED, "an insertion", (table,), owners)


def _outside(
    session: Session,
    query: Query,
    what: str,
    tables: Sequence[Relation],
    owners: frozenset[str],
) -> str:
    names = {
        "schemas": [table.schema for table in tables],
        "names": [table.name for table in tables],
        "owners": list(owners),
    }
    for row in session.rows(query, names):
        other = Relation(row["schema"], row["name"])
        own = min(owners, default="")
        return (
            f"{what} would reach {other}, by a foreign key or as its partition, which belongs "
            f"to {quote_identifier(row['owner'])}; if the owners trust each other: databases."
            f'{session.target.name}.trust = [["{own}", "{row["owner"]}"]]'
        )
    return ""


def read_dependents(session: Session, head: Relation, children: Sequence[Relation]) -> Dependents:
    """Read the foreign keys among the tables, and those that a deletion would reach besides."""
    tables = (head, *children)
    names = ([table.schema for table in tables], [table.name for table in tables])
    found = {member.table: member for member in map(_member, session.rows(_MEMBERS, names))}
    keys = [_key(row) for row in session.rows(_KEYS, names)]
    inside = [key for key in keys if _is_inside(key, tables, children)]
    wrong = _wrong_tables(found, tables) or _wrong_keys(keys, inside)
    if wrong:
        return Dependents(head, wrong=wrong)
    links = {table: [key.link for key in inside if key.own == table] for table in tables}
    return _ordered(head, found, links)


def _is_inside(key: "_Key", tables: Sequence[Relation], children: Sequence[Relation]) -> bool:
    return key.own in children and key.link.to in tables and key.own != key.link.to


def _wrong_tables(found: Mapping[Relation, DependentTable], tables: Sequence[Relation]) -> str:
    """Return why the tables cannot be deleted from together; empty if they can."""
    for table in tables:
        if table not in found:
            return f"there is no table {table}"
    if len(tables) > 1 and found[tables[0]].partitioned:
        return "children are possible only for a table that is not partitioned"
    return ""


def _wrong_keys(keys: "Sequence[_Key]", inside: "Sequence[_Key]") -> str:
    """Return why the foreign keys forbid the deletion; empty if they allow it."""
    for key in inside:
        if not key.plain:
            return f"a foreign key of {key.own} uses an operator that is not the server's own"
    beyond = {str(key.own) for key in keys if key.cascades and key not in inside}
    if beyond:
        return f"a foreign key would extend the deletion to {', '.join(sorted(beyond))}"
    return ""


def _member(row: dict[str, Any]) -> DependentTable:
    columns = tuple((name, kind) for name, kind in row["columns"])
    return DependentTable(
        Relation(row["schema"], row["name"]), row["partitioned"], columns, row["keyed"]
    )


@dataclass(frozen=True, slots=True)
class _Key:
    own: Relation
    link: Reference
    cascades: bool
    plain: bool


def _key(row: dict[str, Any]) -> _Key:
    pairs = tuple((child, parent) for child, parent in row["pairs"])
    link = Reference(Relation(row["to_schema"], row["to_name"]), pairs)
    return _Key(Relation(row["schema"], row["name"]), link, row["cascades"], row["plain"])


def _ordered(
    head: Relation, found: dict[Relation, DependentTable], links: dict[Relation, list[Reference]]
) -> Dependents:
    for child, ways in links.items():
        if child != head and not ways:
            return Dependents(
                head, wrong=f"{child} has no foreign key to {head} or to another of its children"
            )
    sorter = TopologicalSorter({table: [link.to for link in ways] for table, ways in links.items()})
    try:
        order = reversed(tuple(sorter.static_order()))
    except CycleError as error:
        circle = ", ".join(sorted({str(table) for table in error.args[1]}))
        return Dependents(head, wrong=f"{circle} refer to each other in a cycle")
    members = {table: replace(found[table], links=tuple(ways)) for table, ways in links.items()}
    return Dependents(head, tuple(members[table] for table in order if table != head), "", members)
