"""Partitions that have expired as a whole.

A range partition of the age column expires by its bounds: no younger row can be inserted. An
inheritance child expires by its rows, which are checked again under the lock that detaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from postgres.identifiers import Relation
from postgres.session import MAINTAIN, Login, Session
from postgres.statement_file import read_statement
from retention.rows.row_batches import ExpiredRows

_PARTS = read_statement("retention.partitions", "partitions")
_PAST = sql.SQL("SELECT upper <= {cutoff}::{type} AS past FROM (SELECT {upper}::{type} AS upper) b")
_YOUNG = sql.SQL(
    "SELECT EXISTS (SELECT FROM {table} c WHERE c.{column} IS NULL OR NOT ({due})) AS some"
)
_ANY = sql.SQL("SELECT EXISTS (SELECT FROM {table} c) AS some")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition or inheritance child, possibly already detached by us."""

    expired: ExpiredRows
    """The expired rows of its parent."""
    table: Relation
    oid: int
    declared: bool
    rows: int = 0
    bytes: int = 0
    record: str | None = None
    """Its id in sereno.detached_partition if its detach has begun."""
    wrong: str = ""
    """The reason why it cannot leave."""
    owner: str = ""
    owner_login: Login = MAINTAIN
    """The login with the rights of its owner, which detaching takes."""


def expired_partitions(session: Session, expired: ExpiredRows) -> Sequence[Partition]:
    """Return the expired partitions, and those that cannot leave, with the reason."""
    table = expired.table
    found = session.rows(
        _PARTS, {"schema": table.schema, "name": table.name, "column": expired.column}
    )
    parts = []
    for row in found:
        part = Partition(
            expired,
            Relation(row["schema"], row["name"]),
            row["oid"],
            row["declared"],
            row["rows"],
            row["bytes"],
            owner=row["owner"],
        )
        if not row["other"] and _past(session, part, row):
            parts.append(replace(part, wrong=_wrong(row)))
    return parts


def has_unexpired_rows(session: Session, part: Partition) -> bool:
    """Return whether it has rows that have not expired."""
    return _some(session, part, _YOUNG)


def _some(session: Session, part: Partition, query: sql.SQL) -> bool:
    own = replace(part.expired, table=part.table, partitioned=part.declared)
    return bool(session.rows(own.composed(query))[0]["some"])


def _past(session: Session, part: Partition, row: dict[str, Any]) -> bool:
    if not row["declared"]:
        return (
            row["kind"] == "r"
            and not row["parent"]
            and _some(session, part, _ANY)
            and not has_unexpired_rows(session, part)
        )
    if not row["ranged"]:
        return True  # and is refused
    if row["upper"] == "MAXVALUE":
        return False
    bound = str(row["upper"])
    upper = sql.Literal(bound[1:-1].replace("''", "'") if bound.startswith("'") else bound)
    cutoff, kind = sql.Literal(part.expired.cutoff), sql.Identifier(row["type"])
    return bool(session.rows(_PAST.format(upper=upper, cutoff=cutoff, type=kind))[0]["past"])


def _wrong(row: dict[str, Any]) -> str:
    if row["declared"] and not row["ranged"]:
        return "not a range partition of that column alone, so its age as a whole is unknown"
    if row["kind"] not in "rp":
        return "it is a foreign table"
    if not row["fits"]:
        return "it has columns that its parent lacks"
    return ""
