"""Corruption of tables and indexes, found by the extension amcheck (manual, F.1).

Its functions take ACCESS SHARE on the object only. Expressions of an index are evaluated as the
table's owner, in a restricted operation (from 14.3 on).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import errors, sql

from checks.check import Header, Row
from postgres.fencing.amcheck_grants import AMCHECK_FUNCTIONS
from postgres.identifiers import Relation
from postgres.session import Session
from postgres.statement_file import read_statement

MOST_ROWS = 20
"""Damaged tuples of a table that are listed; a check of an index ends at its first error."""
CORRUPTED = (errors.DataCorrupted, errors.IndexCorrupted)
"""SQLSTATE XX001 and XX002 mean damage; a timeout or a lock does not."""
UNREADABLE = (errors.UndefinedFile, errors.IoError)
"""SQLSTATE 58P01 and 58030 mean damage if they name the object's file, not amcheck's library."""
FIRST_USER_OID = 16384
"""Smaller ones belong to the system catalogs; REINDEX CONCURRENTLY refuses them."""

_AVAILABLE = sql.SQL("SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'")
_OBJECTS = read_statement("checks", "provable_objects", folder="statements")
# the object may have been dropped, or have shrunk, since the plan; a missing file has no pages
_HEAP = sql.SQL(
    """
    SELECT v.blkno AS block, v.offnum AS item, v.attnum AS column, v.msg AS message
    FROM (SELECT oid, pg_catalog.pg_relation_size(oid) / current_setting('block_size')::int AS pages
          FROM pg_catalog.pg_class WHERE oid = {oid} OFFSET 0) c,
         LATERAL (SELECT least({last}, nullif(c.pages, 0) - 1) AS last
                  WHERE c.pages > {first} OR {first} = 0 OFFSET 0) b,
         LATERAL {schema}.verify_heapam(c.oid, false, true, 'none', {first}, b.last) v
    LIMIT {most}
    """
)
_INDEX = sql.SQL(
    "SELECT {schema}.{function} FROM pg_catalog.pg_class c WHERE c.oid = {oid} AND c.relkind = 'i'"
)
_SIGNATURES = {
    "btree": sql.SQL("bt_index_check(c.oid, {all_rows})"),
    "unique": sql.SQL("bt_index_check(c.oid, {all_rows}, true)"),
    "gin": sql.SQL("gin_index_check(c.oid)"),
}

Kind = Literal["heap", "btree", "gin"]


@dataclass(frozen=True, slots=True)
class Provable:
    """An index, or a table, that amcheck can verify."""

    kind: Kind
    relation: Relation
    oid: int
    filenode: int
    """The number of its file: another one after a rewrite, which needs another proof."""
    pages: int
    heap_rows: float
    """Rows of the table; the cost of verifying an index depends on them."""
    is_unique: bool = False


@dataclass(frozen=True, slots=True)
class Blocks:
    """A range of blocks of a table; `last` is None for the end of the table."""

    first: int = 0
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Amcheck:
    """The functions of amcheck that the login of a session may execute."""

    schema: str = ""
    kinds: frozenset[Kind] = frozenset()
    verifies_uniqueness: bool = False
    missing: str = ""
    """Why something cannot be verified, with the cure; empty if all can."""


def read_amcheck(session: Session) -> Amcheck:
    """Return the functions of amcheck that the session may execute."""
    rows = session.rows(AMCHECK_FUNCTIONS)
    if not rows:
        return Amcheck(missing=_why_absent(session))
    usable = [row for row in rows if row["executable"]]
    kinds: dict[tuple[str, int], Kind] = {
        ("bt_index_check", 2): "btree",
        ("verify_heapam", 6): "heap",
        ("gin_index_check", 1): "gin",
    }
    found = {kinds[key] for row in usable if (key := (row["name"], row["arguments"])) in kinds}
    present = {kinds[key] for row in rows if (key := (row["name"], row["arguments"])) in kinds}
    missing = ""
    if {"btree", "heap"} - present:
        missing = "an old version of amcheck is installed; ALTER EXTENSION amcheck UPDATE"
    elif present - found:
        missing = (
            f"{session.facts.user} may not execute the functions of amcheck; sereno install "
            "grants it"
        )
    unique = any(row["name"] == "bt_index_check" and row["arguments"] == 3 for row in usable)  # noqa: PLR2004 - from 17 on
    return Amcheck(rows[0]["schema"], frozenset(found), unique, missing)


def _why_absent(session: Session) -> str:
    """Return why amcheck is not installed, with the cure."""
    if session.rows(_AVAILABLE):
        return "the extension amcheck is not installed; sereno install creates it"
    return (
        "the server does not offer the extension amcheck; install its package of additional "
        "modules (postgresql-contrib), then sereno install"
    )


def read_provable(session: Session, kinds: frozenset[Kind]) -> Sequence[Provable]:
    """Return the objects of these kinds; takes no lock on any of them."""
    return [
        Provable(
            row["kind"],
            Relation(row["schema"], row["name"]),
            row["oid"],
            row["filenode"],
            row["pages"],
            row["heap_rows"],
            row["is_unique"],
        )
        for row in session.rows(_OBJECTS)
        if row["kind"] in kinds
    ]


def verification(
    proof: Provable, amcheck: Amcheck, blocks: Blocks, *, all_rows: bool
) -> sql.Composed:
    """Return the statement that verifies an object.

    `all_rows` also looks up every row of the table in the B-tree index.
    """
    schema, oid = sql.Identifier(amcheck.schema), sql.Literal(proof.oid)
    if proof.kind == "heap":
        return _HEAP.format(
            schema=schema,
            oid=oid,
            first=sql.Literal(blocks.first),
            last=sql.Literal(blocks.last),
            most=sql.Literal(MOST_ROWS),
        )
    unique = proof.is_unique and amcheck.verifies_uniqueness and proof.kind == "btree"
    signature = _SIGNATURES["unique" if unique else proof.kind]
    return _INDEX.format(
        schema=schema, oid=oid, function=signature.format(all_rows=sql.Literal(all_rows))
    )


def damage(session: Session, question: sql.Composed, proof: Provable, name: str) -> Sequence[Row]:
    """Run a verification; return a row, whose object is `name`, if the object is damaged."""
    row: dict[str, object] = {
        "object": name,
        "value": 1,
        "relation": str(proof.relation),
        "concurrently": "" if proof.oid < FIRST_USER_OID else "CONCURRENTLY ",
    }
    try:
        found = session.rows(question)
    except (*CORRUPTED, *UNREADABLE) as error:
        own_file = rf"/{proof.filenode}\b"
        if isinstance(error, UNREADABLE) and not re.search(own_file, str(error)):
            raise
        parts = [error.diag.message_primary, error.diag.message_detail]
        return [{**row, "message": "; ".join(part for part in parts if part)}]
    if proof.kind != "heap" or not found:
        return ()
    places = [f"block {one['block']} item {one['item']}: {one['message']}" for one in found]
    return [{**row, "value": len(found), "message": places[0], "places": places}]


_HEAP_REMEDIES = (
    (
        "stop writing to {relation} and copy the data directory; restore the table from a backup "
        "that was verified; check disk and memory"
    ),
    (
        "dejar de escribir en {relation} y copiar el directorio de datos; restaurar la tabla desde "
        "una copia verificada; revisar disco y memoria"
    ),
)
_INDEX_REMEDIES = (
    (
        "REINDEX INDEX {concurrently}{relation}; (if it finds duplicate keys, remove them first); "
        "then sereno check foreign_keys, and check disk and memory"
    ),
    (
        "REINDEX INDEX {concurrently}{relation}; (si encuentra claves duplicadas, quitarlas "
        "antes); después sereno check foreign_keys, y revisar disco y memoria"
    ),
)


def _header(name: str, titles: tuple[str, str], remedies: tuple[str, str]) -> Header:
    """Return the header of a finding; the texts are English and Spanish."""
    return Header(
        name=name,
        title=titles[0],
        summary="{object} is damaged: {message}",
        remedy=remedies[0],
        es={
            "title": titles[1],
            "summary": "{object} está dañado: {message}",
            "remedy": remedies[1],
        },
        source="amcheck",
        cost="scan",
    )


HEADERS: Mapping[Kind, Header] = {
    "heap": _header(
        "heap_corruption", ("A table is damaged", "Una tabla está dañada"), _HEAP_REMEDIES
    ),
    "btree": _header(
        "btree_corruption",
        ("A B-tree index is damaged", "Un índice B-tree está dañado"),
        _INDEX_REMEDIES,
    ),
    "gin": _header(
        "gin_corruption",
        ("A GIN index is damaged", "Un índice GIN está dañado"),
        _INDEX_REMEDIES,
    ),
}
"""The headers of the findings, by the kind of object."""
OVERDUE_DAYS: Mapping[str, int] = {"warning": 14, "high": 30}
"""The age of the oldest proof, in days, from which it is a finding."""
OVERDUE = Header(
    name="proofs_overdue",
    title="Indexes or tables have not been verified for too long",
    summary="{overdue} of {wanted} not verified for 14 days or more; {worst} for {value} days",
    remedy="raise jobs.corruption_check.budget, or the window of its schedule",
    es={
        "title": "Hay índices o tablas sin verificar desde hace demasiado tiempo",
        "summary": "{overdue} de {wanted} sin verificar desde hace 14 días o más; {worst} desde "
        "hace {value} días",
        "remedy": "aumentar jobs.corruption_check.budget, o la ventana de su programación",
    },
    source="the history of the job corruption_check",
)
