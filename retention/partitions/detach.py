"""A partition is taken out of its table, so that it can be brought up again after whatever stops it in the middle.

`DETACH … CONCURRENTLY` commits halfway (manual, ALTER TABLE, DETACH PARTITION): who dies there leaves a partition that
nobody sees through its table any more. So it is written down in sereno.detached_partition before it begins; what
stands there unsettled is finished first the next time.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from execution.control import Pace
from postgres.identifiers import Relation
from postgres.session import Session
from retention.partitions.expired import Partition, young
from retention.rows.row_batches import Expired

TABLE = "detached_partition"

_BEGIN = sql.SQL(
    """
    INSERT INTO sereno.detached_partition (instance, "schema", "table", "oid", partition_schema, partition)
    VALUES (%s, %s, %s, %s, %s, %s) RETURNING id::text AS id
    """
)
_BEGUN = sql.SQL(
    'SELECT id::text AS id FROM sereno.detached_partition WHERE instance = %s AND "oid" = %s AND settled_at IS NULL'
)
_OPEN = sql.SQL(
    """
    SELECT d.id::text AS id, d."oid"::bigint AS oid, d.partition_schema AS schema, d.partition AS name, d.declared,
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes, greatest(c.reltuples, 0)::bigint AS rows
    FROM (SELECT *, EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p
                            WHERE p.partrelid = to_regclass(format('%%I.%%I', "schema", "table"))) AS declared
          FROM sereno.detached_partition) d
    LEFT JOIN pg_catalog.pg_class c ON c.oid = d."oid"
    WHERE d.instance = %s AND d."schema" = %s AND d."table" = %s AND d.settled_at IS NULL ORDER BY d.begun_at, d.id
    """
)
_STRANDED = sql.SQL(
    "SELECT partition_schema AS schema, partition AS name, begun_at::text AS since FROM sereno.detached_partition"
    " d WHERE settled_at IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i"
    '                                             WHERE i.inhrelid = d."oid" AND NOT i.inhdetachpending)'
    " ORDER BY begun_at"
)
_SETTLE = sql.SQL("UPDATE sereno.detached_partition SET settled_at = now() WHERE id = %s AND settled_at IS NULL")
_STATE = sql.SQL(
    """
    SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
           i.inhparent IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending,
           coalesce(p.partdefid <> 0, false) AS other
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
    LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent
    WHERE c.oid = %s
    """
)
_AHEAD = sql.SQL(
    """
    SELECT s.partition_schema AS schema, s.partition AS name
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_inherits o ON o.inhparent = i.inhparent AND o.inhrelid <> i.inhrelid AND o.inhdetachpending
    JOIN sereno.detached_partition s ON s."oid" = o.inhrelid AND s.instance = %s AND s.settled_at IS NULL
    WHERE i.inhrelid = %s
    """
)
_DETACH = sql.SQL("ALTER TABLE {parent} DETACH PARTITION {part}{how}")
_NO_INHERIT = sql.SQL("ALTER TABLE {part} NO INHERIT {parent}")
_LOCK = sql.SQL("LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE")
_SHARE = sql.SQL("LOCK TABLE {part} IN SHARE MODE")
_DROP = sql.SQL("DROP TABLE {part}")
_FINALIZE, _CONCURRENTLY, _AT_ONCE = sql.SQL(" FINALIZE"), sql.SQL(" CONCURRENTLY"), sql.SQL("")


class PartitionError(OSError):
    """A partition is not what it was when it was planned; the sentence says how. Nothing was changed."""


def unsettled(session: Session, expired: Expired, instance: str) -> Sequence[Partition]:
    """Return what this instance has begun to take out of a table and has not brought to its end."""
    rows = session.rows(_OPEN, (instance, expired.table.schema, expired.table.name))
    return [
        Partition(
            expired,
            Relation(row["schema"], row["name"]),
            row["oid"],
            row["declared"],
            row["rows"],
            row["bytes"],
            row["id"],
        )
        for row in rows
    ]


def stranded(session: Session) -> Sequence[tuple[str, str]]:
    """Return what anybody has begun to take out of a table and has not brought to its end: its name, and since when."""
    rows = session.rows(_STRANDED)
    return [(str(Relation(row["schema"], row["name"])), row["since"]) for row in rows]


def detach(session: Session, pace: Pace, part: Partition, instance: str) -> str | None:
    """Take a partition out of its table; return its id in sereno.detached_partition, None if it is gone.

    Locks: SHARE UPDATE EXCLUSIVE on the table (ACCESS EXCLUSIVE if it has a default partition), then ACCESS EXCLUSIVE
    on the partition, each for a moment.
    """
    record = part.record or _begun(session, part, instance)
    while state := _state(session, part):
        if not state["attached"]:
            return record
        session.allow(pace.remaining_seconds())
        pace.attempt(lambda: _out(session, part, instance))
    settle(session, record)
    return None


def drop(session: Session, part: Partition) -> None:
    """Drop it, inside a transaction that has locked it."""
    session.execute(_DROP.format(part=part.table.identifier()))


def lock(session: Session, part: Partition, *, readers: bool) -> None:
    """Let nobody write to it until the transaction ends; nor read, unless `readers` may.

    PartitionError: something else has its name, or it is attached.
    """
    session.execute((_SHARE if readers else _LOCK).format(part=part.table.identifier()))
    state = _state(session, part)
    if state is None or state["attached"]:
        raise PartitionError(f"{part.table} is not the detached partition that it was")


def settle(session: Session, record: str) -> None:
    """Write down that all is done with it that was to be done. PartitionError: that stands there already."""
    if session.execute(_SETTLE, (record,)) != 1:
        raise PartitionError("it was brought to its end already")


def statements(part: Partition) -> str:
    """Return how it leaves its table, for people to read."""
    names = {"parent": part.expired.table.identifier(), "part": part.table.identifier()}
    detached = _DETACH.format(how=_CONCURRENTLY, **names) if part.declared else _NO_INHERIT.format(**names)
    return detached.as_string(None)


def _begun(session: Session, part: Partition, instance: str) -> str:
    parent = part.expired.table
    who = (instance, parent.schema, parent.name, part.oid, part.table.schema, part.table.name)
    begun = session.rows(_BEGUN, (instance, part.oid))  # by a turn before this one
    return str((begun or session.rows(_BEGIN, who))[0]["id"])


def _state(session: Session, part: Partition) -> dict[str, Any] | None:
    rows = session.rows(_STATE, (part.oid,))
    if rows and (rows[0]["schema"], rows[0]["name"]) != (part.table.schema, part.table.name):
        raise PartitionError(f"{part.table} has another name now: {rows[0]['schema']}.{rows[0]['name']}")
    return rows[0] if rows else None


def _out(session: Session, part: Partition, instance: str) -> None:
    names = {"parent": part.expired.table.identifier(), "part": part.table.identifier()}
    if not part.declared:
        with session.transaction():
            session.execute(_LOCK.format(part=names["part"]))
            if young(session, part):
                raise PartitionError(f"{part.table} has got rows that have not expired")
            session.execute(_NO_INHERIT.format(**names))
        return
    for ahead in session.rows(_AHEAD, (instance, part.oid)):  # of one table only one can be pending
        other = Relation(ahead["schema"], ahead["name"]).identifier()
        session.execute(_DETACH.format(how=_FINALIZE, parent=names["parent"], part=other))
    state = _state(session, part)
    if state is not None and state["attached"]:
        how = _FINALIZE if state["pending"] else _AT_ONCE if state["other"] else _CONCURRENTLY
        session.execute(_DETACH.format(how=how, **names))
