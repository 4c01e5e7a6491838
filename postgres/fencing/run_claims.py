"""Which due runs were done, kept in the maintained database itself: two serenos share one night, none does it twice.

Only the coordinator reads and writes a claim, under its lock. That one is not settled says only that nobody has ended
it yet; who lives, the locks say. Without the table (`sereno install` makes it) each state file is on its own.
"""

from dataclasses import asdict, dataclass

from psycopg import sql

from postgres.fencing.ownership import ours
from postgres.session import Session

_KEEP_DAYS = 400

_TAKE = sql.SQL(
    """
    INSERT INTO sereno.claim AS c (instance, schedule, job, scope, nominal, state, taken_by)
    VALUES (%(instance)s, %(schedule)s, %(job)s, %(scope)s, %(nominal)s::timestamp, 'running', %(who)s)
    ON CONFLICT (instance, schedule, job, scope, nominal) DO UPDATE
    SET state = 'running', taken_by = excluded.taken_by, taken_at = now(), attempts = c.attempts + 1
    WHERE c.state IN ('running', 'interrupted')
    RETURNING c.attempts
    """
)
_SETTLED = sql.SQL(
    """
    SELECT state, reason, steps_left, taken_by FROM sereno.claim
    WHERE instance = %(instance)s AND schedule = %(schedule)s AND job = %(job)s AND scope = %(scope)s
      AND nominal = %(nominal)s::timestamp
    """
)
_SETTLE = sql.SQL(
    """
    UPDATE sereno.claim SET state = %(state)s, reason = %(reason)s, steps_left = %(left)s, settled_at = now()
    WHERE instance = %(instance)s AND schedule = %(schedule)s AND job = %(job)s AND scope = %(scope)s
      AND nominal = %(nominal)s::timestamp
    """
)
_OPEN = sql.SQL(
    """
    SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
           AND has_table_privilege(c.oid, 'DELETE') AS open
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sereno' AND c.relname = 'claim'
    """
)
_SCHEMA = sql.SQL("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'sereno'")
_FORGET = sql.SQL("DELETE FROM sereno.claim WHERE instance = %s AND nominal < now() - make_interval(days => %s)")


@dataclass(frozen=True, slots=True)
class Claim:
    """A due run: whose configuration (daemon.name), what, and its nominal local minute (`2026-03-01T02:00`)."""

    instance: str
    schedule: str
    job: str
    scope: str
    nominal: str


@dataclass(frozen=True, slots=True)
class Settled:
    """How a due run has ended, and who did it."""

    state: str
    reason: str
    steps_left: int
    by: str


def take(session: Session, claim: Claim, who: str) -> Settled | None:
    """Take a due run, or what a dead or stopped one has left of it; return how it ended if it has ended."""
    if not _kept(session):
        return None
    key = asdict(claim)
    if session.rows(_TAKE, {**key, "who": who}):
        session.execute(_FORGET, (claim.instance, _KEEP_DAYS))
        return None
    row = session.rows(_SETTLED, key)[0]
    return Settled(row["state"], row["reason"], row["steps_left"], row["taken_by"])


def settle(session: Session, claim: Claim, settled: Settled) -> None:
    """Say how it ended; an interrupted one may be taken again, by anybody."""
    if _kept(session):
        end = {"state": settled.state, "reason": settled.reason, "left": settled.steps_left}
        session.rows(sql.SQL("{} RETURNING 1").format(_SETTLE), {**asdict(claim), **end})


def trouble(session: Session) -> str:
    """Say why claims cannot be kept though the sereno schema is there: two serenos would both do every run."""
    if _kept(session) or not session.rows(_SCHEMA):
        return ""
    return (
        "sereno.claim is missing, closed to the login, or not as an administrator made it; "
        f"run again: sereno install {session.target.name} --admin DSN"
    )


def _kept(session: Session) -> bool:
    """Say whether there is a table of claims that an administrator made (no stranger's trigger), and open to us."""
    return ours(session, "claim") and session.rows(_OPEN)[0]["open"]
