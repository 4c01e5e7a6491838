"""Claims of due runs, kept in the maintained database: of several serenos one does each run.

Only the coordinator reads and writes a claim, under its lock. An unsettled claim means that the run
has not finished; whether its owner is alive is decided by the advisory locks. Without the table,
made by `sereno install`, each state file is on its own.
"""

from dataclasses import asdict, dataclass

from psycopg import sql

from postgres.fencing.ownership import is_installed_table
from postgres.session import Session

_KEEP_DAYS = 400

_TAKE = sql.SQL(
    """
    INSERT INTO sereno.claim AS c (instance, schedule, job, scope, nominal, state, taken_by)
    VALUES (%(instance)s, %(schedule)s, %(job)s, %(scope)s, %(nominal)s::timestamp,
            'running', %(who)s)
    ON CONFLICT (instance, schedule, job, scope, nominal) DO UPDATE
    SET state = 'running', taken_by = excluded.taken_by, taken_at = now(), attempts = c.attempts + 1
    WHERE c.state IN ('running', 'interrupted')
    RETURNING c.attempts
    """
)
_SETTLED = sql.SQL(
    """
    SELECT state, reason, steps_left, taken_by FROM sereno.claim
    WHERE instance = %(instance)s AND schedule = %(schedule)s AND job = %(job)s
      AND scope = %(scope)s AND nominal = %(nominal)s::timestamp
    """
)
_SETTLE = sql.SQL(
    """
    UPDATE sereno.claim
    SET state = %(state)s, reason = %(reason)s, steps_left = %(left)s, settled_at = now()
    WHERE instance = %(instance)s AND schedule = %(schedule)s AND job = %(job)s
      AND scope = %(scope)s AND nominal = %(nominal)s::timestamp
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
_NEWEST = sql.SQL(
    """
    SELECT instance, schedule, job, scope, to_char(nominal, 'YYYY-MM-DD"T"HH24:MI') AS nominal
    FROM sereno.claim
    WHERE instance = %s AND right(taken_by, length(%s)) = %s
      AND settled_at > now() - make_interval(secs => %s)
    ORDER BY settled_at DESC, taken_at DESC LIMIT 1
    """
)
_SCHEMA = sql.SQL("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'sereno'")
_FORGET = sql.SQL(
    "DELETE FROM sereno.claim WHERE instance = %s AND nominal < now() - make_interval(days => %s)"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A due run: daemon.name, schedule, job, scope, nominal local minute (`2026-03-01T02:00`)."""

    instance: str
    schedule: str
    job: str
    scope: str
    nominal: str


@dataclass(frozen=True, slots=True)
class SettledClaim:
    """The end of a due run, and who ran it."""

    state: str
    reason: str
    steps_left: int
    by: str


def claimant(process: str, state_id: str) -> str:
    """Return who claims a run: the process, and the state file that knows the run."""
    return f"{process}, {_state_file(state_id)}"


def _state_file(state_id: str) -> str:
    return f"state file {state_id[:12]}"


def newest_settled(session: Session, instance: str, state_id: str, seconds: float) -> Claim | None:
    """Return the claim that a state file settled last within some seconds; None without one."""
    if not _kept(session):
        return None
    mark = _state_file(state_id)
    rows = session.rows(_NEWEST, (instance, mark, mark, seconds))
    return next((Claim(**row) for row in rows), None)


def claim_run(session: Session, claim: Claim, who: str) -> SettledClaim | None:
    """Claim a due run, also one left by a stopped sereno; return its outcome if it has one."""
    if not _kept(session):
        return None
    key = asdict(claim)
    if session.rows(_TAKE, {**key, "who": who}):
        session.execute(_FORGET, (claim.instance, _KEEP_DAYS))
        return None
    row = session.rows(_SETTLED, key)[0]
    return SettledClaim(row["state"], row["reason"], row["steps_left"], row["taken_by"])


def settle_claim(session: Session, claim: Claim, settled: SettledClaim) -> None:
    """Record the end of a run; an interrupted one may be claimed again by any instance."""
    if _kept(session):
        end = {"state": settled.state, "reason": settled.reason, "left": settled.steps_left}
        session.rows(sql.SQL("{} RETURNING 1").format(_SETTLE), {**asdict(claim), **end})


def unavailable_reason(session: Session) -> str:
    """Return why claims cannot be kept although the schema exists: runs would be done twice."""
    if _kept(session) or not session.rows(_SCHEMA):
        return ""
    return (
        "sereno.claim is missing, not accessible, or not as an administrator created it; "
        f"run: sereno install {session.target.name} --admin DSN"
    )


def _kept(session: Session) -> bool:
    """Return whether the claim table exists as an administrator made it, and is usable."""
    return is_installed_table(session, "claim") and session.rows(_OPEN)[0]["open"]
