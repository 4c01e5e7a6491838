"""The rows of the ledger about gates: decisions, passed gates, adopted phases."""

from collections.abc import Mapping
from datetime import datetime

from psycopg import sql
from psycopg.types.json import Jsonb

from migrations.gates import Recorded
from migrations.ledger import LONGEST_REASON, RunRef, Written, add
from postgres.session import Session

_GATES = sql.SQL(
    """
    SELECT gate, state, principal, note, written_at FROM sereno.migration_gate
    WHERE written_by = {user} AND migration = {migration} AND checksum = {checksum}
      AND environment = {environment} AND written_at >= {since}
    ORDER BY ordinal
    """
)
_ADOPTED = sql.SQL(
    """
    SELECT 1 AS one FROM sereno.migration_step s
    WHERE s.written_by = {user} AND s.migration = {migration} AND s.reason = 'adopted'
      AND NOT EXISTS (
        SELECT FROM sereno.migration_step u
        WHERE u.written_by = {user} AND u.migration = {migration} AND u.file = s.file
          AND u.state = 'undone' AND u.ordinal > s.ordinal)
    LIMIT 1
    """
)
_WAIVERS = sql.SQL(
    """
    SELECT migration, count(*) AS waivers FROM sereno.migration_gate
    WHERE written_by = {user} AND state = 'waived' GROUP BY migration
    """
)


def recorded_gates(
    session: Session, ref: RunRef, environment: str, since: datetime
) -> list[Recorded]:
    """Return the approvals, attestations and waivers of this checksum since a time."""
    statement = _GATES.format(
        user=sql.Literal(ref.user),
        migration=sql.Literal(ref.migration),
        checksum=sql.Literal(ref.checksum),
        environment=sql.Literal(environment),
        since=sql.Literal(since),
    )
    return [Recorded(**row) for row in session.rows(statement)]


def count_waivers(session: Session, user: str) -> dict[str, int]:
    """Return the number of waivers by migration."""
    rows = session.rows(_WAIVERS.format(user=sql.Literal(user)))
    return {row["migration"]: row["waivers"] for row in rows}


def has_adopted(session: Session, user: str, migration: str) -> bool:
    """Return whether a phase was recorded as applied by other means, and not undone since."""
    return bool(
        session.rows(_ADOPTED.format(user=sql.Literal(user), migration=sql.Literal(migration)))
    )


def add_gate(session: Session, ref: RunRef, environment: str, row: Mapping[str, str]) -> Written:
    """Record an approval, an attestation, a waiver, or that a gate was passed."""
    values = {"gate": row["gate"], "state": row["state"], "principal": row["principal"]}
    return add(
        session,
        "migration_gate",
        migration=ref.migration,
        checksum=ref.checksum,
        environment=environment,
        note=row.get("note", "")[:LONGEST_REASON],
        evidence=Jsonb({}),
        **values,
    )
