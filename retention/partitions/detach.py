"""Detaching of a partition, recoverable from any interruption.

`DETACH ... CONCURRENTLY` commits in the middle (manual, ALTER TABLE, DETACH PARTITION): a crash
there leaves a partition that is invisible through its table. So each detach is recorded in
sereno.detached_partition before it begins, and the next run finishes recorded ones first.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from execution.control import StepControl
from postgres.fencing.ownership import writer_may_delete
from postgres.identifiers import Relation
from postgres.session import Session
from postgres.statement_file import read_statement
from retention.partitions.expired import Partition, has_unexpired_rows
from retention.rows.dependents import outside_reason
from retention.rows.row_batches import ExpiredRows

TABLE = "detached_partition_end"
"""The younger of the two tables: installed last."""

_TABLE = (sql.Identifier("d", "schema"), sql.Identifier("d", "table"))
_UNSETTLED = sql.SQL(
    """
    d.settled_at IS NULL AND {begun}
    AND NOT EXISTS (SELECT FROM sereno.detached_partition_end e WHERE e.id = d.id AND {ended})
    """
).format(
    begun=writer_may_delete(*_TABLE, sql.Identifier("d", "written_by")),
    ended=writer_may_delete(*_TABLE, sql.Identifier("e", "written_by")),
)

_BEGIN = sql.SQL(
    """
    INSERT INTO sereno.detached_partition
      (instance, "schema", "table", "oid", partition_schema, partition)
    VALUES (%s, %s, %s, %s, %s, %s) RETURNING id::text AS id
    """
)
_BEGUN = sql.SQL(
    """
    SELECT id::text AS id FROM sereno.detached_partition d
    WHERE d.instance = %s AND d."oid" = %s AND {unsettled}
    """
).format(unsettled=_UNSETTLED)
_OPEN = read_statement("retention.partitions", "unfinished_detaches").format(unsettled=_UNSETTLED)
_STRANDED = sql.SQL(
    """
    SELECT partition_schema AS schema, partition AS name, begun_at::text AS since
    FROM sereno.detached_partition d
    WHERE {unsettled}
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                      WHERE i.inhrelid = d."oid" AND NOT i.inhdetachpending)
    ORDER BY begun_at
    """
).format(unsettled=_UNSETTLED)
_SETTLE = sql.SQL(
    "INSERT INTO sereno.detached_partition_end (id) VALUES (%s) ON CONFLICT DO NOTHING"
)
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
    SELECT d.partition_schema AS schema, d.partition AS name
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_inherits o
      ON o.inhparent = i.inhparent AND o.inhrelid <> i.inhrelid AND o.inhdetachpending
    JOIN sereno.detached_partition d ON d."oid" = o.inhrelid AND d.instance = %s
    WHERE i.inhrelid = %s AND {unsettled}
    """
).format(unsettled=_UNSETTLED)
_DETACH = sql.SQL("ALTER TABLE {parent} DETACH PARTITION {part}{how}")
_NO_INHERIT = sql.SQL("ALTER TABLE {part} NO INHERIT {parent}")
_LOCK = sql.SQL("LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE")
_SHARE = sql.SQL("LOCK TABLE {part} IN SHARE MODE")
_DROP = sql.SQL("DROP TABLE {part}")
_FINALIZE, _CONCURRENTLY, _AT_ONCE = sql.SQL(" FINALIZE"), sql.SQL(" CONCURRENTLY"), sql.SQL("")


class PartitionError(OSError):
    """A partition has changed since it was planned; the message says how. Nothing was changed."""


def unfinished_detaches(
    session: Session, expired: ExpiredRows, instance: str
) -> Sequence[Partition]:
    """Return the partitions of a table whose detach this instance has begun and not finished."""
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
            owner=row["owner"],
        )
        for row in rows
    ]


def all_unfinished_detaches(session: Session) -> Sequence[tuple[str, str]]:
    """Return the name and start of every unfinished detach, whichever instance began it."""
    rows = session.rows(_STRANDED)
    return [(str(Relation(row["schema"], row["name"])), row["since"]) for row in rows]


def detach_partition(
    session: Session, control: StepControl, part: Partition, instance: str
) -> str | None:
    """Detach a partition; return its record id, or None if the partition is gone.

    Locks: SHARE UPDATE EXCLUSIVE on the table (ACCESS EXCLUSIVE if it has a default partition),
    then ACCESS EXCLUSIVE on the partition, each briefly.
    """
    record = part.record or _begun(session, part, instance)
    while state := _state(session, part):
        if not state["attached"]:
            return record
        session.set_timeouts(control.remaining_seconds())
        tables = (part.expired.table, part.table)
        if wrong := outside_reason(session, tables, part.expired.owners):
            raise PartitionError(wrong)
        control.attempt(lambda: _out(session, part, instance))
    record_settled(session, record)
    return None


def drop_partition(session: Session, part: Partition) -> None:
    """Drop a partition inside the transaction that has locked it."""
    session.execute(_DROP.format(part=part.table.identifier()))


def lock_partition(session: Session, part: Partition, *, readers: bool) -> None:
    """Lock a detached partition against writers, and against readers unless `readers`.

    Raises PartitionError if another relation has its name, or it is attached.
    """
    session.execute((_SHARE if readers else _LOCK).format(part=part.table.identifier()))
    state = _state(session, part)
    if state is None or state["attached"]:
        raise PartitionError(f"{part.table} is no longer the detached partition")


def record_settled(session: Session, record: str) -> None:
    """Record that a detach is finished. Raises PartitionError if that is recorded already."""
    if session.execute(_SETTLE, (record,)) != 1:
        raise PartitionError("the detach is already recorded as finished")


def describe_detach(part: Partition) -> str:
    """Return the detach statement for people to read."""
    names = {"parent": part.expired.table.identifier(), "part": part.table.identifier()}
    detached = (
        _DETACH.format(how=_CONCURRENTLY, **names) if part.declared else _NO_INHERIT.format(**names)
    )
    return detached.as_string(None)


def _begun(session: Session, part: Partition, instance: str) -> str:
    parent = part.expired.table
    who = (instance, parent.schema, parent.name, part.oid, part.table.schema, part.table.name)
    begun = session.rows(_BEGUN, (instance, part.oid))  # by an earlier run
    return str((begun or session.rows(_BEGIN, who))[0]["id"])


def _state(session: Session, part: Partition) -> dict[str, Any] | None:
    rows = session.rows(_STATE, (part.oid,))
    if rows and (rows[0]["schema"], rows[0]["name"]) != (part.table.schema, part.table.name):
        raise PartitionError(f"{part.table} was renamed to {rows[0]['schema']}.{rows[0]['name']}")
    if rows:
        return rows[0]
    return None


def _out(session: Session, part: Partition, instance: str) -> None:
    names = {"parent": part.expired.table.identifier(), "part": part.table.identifier()}
    if not part.declared:
        with session.transaction():
            session.execute(_LOCK.format(part=names["part"]))
            if has_unexpired_rows(session, part):
                raise PartitionError(f"{part.table} has received rows that have not expired")
            session.execute(_NO_INHERIT.format(**names))
        return
    # a table can have only one pending detach
    for ahead in session.rows(_AHEAD, (instance, part.oid)):
        other = Relation(ahead["schema"], ahead["name"]).identifier()
        session.execute(_DETACH.format(how=_FINALIZE, parent=names["parent"], part=other))
    state = _state(session, part)
    if state is not None and state["attached"]:
        how = _CONCURRENTLY
        if state["pending"]:
            how = _FINALIZE
        elif state["other"]:
            how = _AT_ONCE
        session.execute(_DETACH.format(how=how, **names))
