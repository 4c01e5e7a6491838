"""The check that rows may be deleted in a database by a login.

A DELETE runs the triggers of the table's owner with the rights of the login, and SET ROLE does not
help, since a trigger can reset it. So the login must have no rights worth stealing.
"""

from psycopg import errors, sql

from postgres.fencing.trust_domain import TrustDomain
from postgres.session import Session
from postgres.statement_file import read_statement

_OWNER = sql.SQL("SELECT instance_id, instance_name FROM sereno.owner")
_INSTALLED = sql.SQL("SELECT to_regclass('sereno.owner') IS NOT NULL AS installed")
_PLAIN = sql.SQL(
    """
    SELECT c.relkind = 'r' AND NOT c.relhasrules AS plain
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sereno' AND c.relname = 'owner'
    """
)
_RIGHTS = read_statement("postgres.fencing", "login_rights")


def refusal_reason(session: Session, instance: str, domain: TrustDomain) -> str:
    """Return why this instance may not delete rows in this session, with the cure; empty if it may.

    `domain` is the trust domain of the session.
    """
    with session.transaction(read_only=True):
        return power_reason(session, domain) or _foreign(session, instance)


def distrust_reason(session: Session, instance: str) -> str:
    """Return why this instance may change nothing in this database; empty if it may."""
    with session.transaction(read_only=True):
        return _foreign(session, instance)


def is_installed(session: Session) -> bool:
    """Return whether `sereno install` has prepared the database."""
    return bool(session.rows(_INSTALLED)[0]["installed"])


def _foreign(session: Session, instance: str) -> str:
    name = session.target.name
    if any(not row["plain"] for row in session.rows(_PLAIN)):
        return (
            "sereno.owner is not the table that sereno created; examine and drop it, then run "
            "sereno install again"
        )
    try:
        rows = session.rows(_OWNER)
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return f"the sereno schema is missing; run: sereno install {name} --admin DSN"
    except errors.InsufficientPrivilege:
        return (
            f"{session.facts.user} may not read sereno.owner; run: sereno install {name} --admin "
            "DSN"
        )
    if not rows:
        return f"no sereno is trusted with this database yet; run: sereno trust {name}"
    if all(row["instance_id"] != instance for row in rows):
        return (
            f"this database belongs to another sereno ({rows[0]['instance_name']}). Is this a "
            "copy of its "
            f"configuration, or was its state file lost? To take over: sereno trust {name}; to "
            "share: --beside"
        )
    return ""


def power_reason(session: Session, domain: TrustDomain) -> str:
    """Return the rights of the login that code of a table's owner could abuse; empty for none."""
    if session.target.allow_privileged_dml:
        return ""
    rights = session.rows(_RIGHTS, {"owners": list(domain.owners)})[0]
    found = [
        right.upper()
        for right in ("superuser", "createrole", "replication", "bypassrls")
        if rights[right]
    ]
    if not rights["superuser"]:  # superusers are members of every role
        found += [f"membership in {power}" for power in rights["powers"] or ()]
        found += [f"the rights of the owner {owner}" for owner in rights["owners"] or ()]
    if not found:
        return ""
    return (
        f"{session.facts.user} has {', '.join(found)}: code of a table's owner would run "
        "with them. Use the data "
        f"login of: sereno install {session.target.name} (or allow_privileged_dml = true)"
    )
