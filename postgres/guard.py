"""Whether rows may be deleted here: it is our database, and the login's rights are of no use to a hostile trigger.

A DELETE fires the triggers of the table's owner with the rights of the login, and `SET ROLE` does not help: the
trigger sets it back. So the login must be one whose rights nobody wants.
"""

from psycopg import errors, sql

from postgres.connection import Session

_OWNER = sql.SQL("SELECT instance_id, instance_name FROM sereno.owner")
_RIGHTS = sql.SQL(
    """
    SELECT r.rolsuper AS superuser, r.rolcreaterole AS createrole, r.rolreplication AS replication,
           r.rolbypassrls AS bypassrls,
           ARRAY(SELECT p.rolname::text FROM pg_catalog.pg_roles p
                 WHERE p.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files',
                                     'pg_write_all_data', 'pg_signal_backend', 'pg_maintain', 'rds_superuser',
                                     'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser')
                   AND pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER') ORDER BY 1) AS powers,
           ARRAY(SELECT DISTINCT o.rolname::text FROM pg_catalog.pg_roles o
                 WHERE pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER')
                   AND (EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relowner = o.oid AND c.relkind <> 't')
                        OR EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datdba = o.oid))
                 ORDER BY 1) AS owners
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
    """
)


def refusal(session: Session, instance: str) -> str:
    """Return why this instance may not delete rows through this session, and the cure; nothing if it may."""
    return _foreign(session, instance) or _powerful(session)


def _foreign(session: Session, instance: str) -> str:
    name = session.target.name
    try:
        rows = session.rows(_OWNER)
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return f"the sereno schema is missing; run: sereno install {name} --admin DSN"
    except errors.InsufficientPrivilege:
        return f"{session.facts.user} may not read sereno.owner; run again: sereno install {name} --admin DSN"
    if not rows:
        return f"nobody is trusted with this database yet; run: sereno trust {name}"
    if rows[0]["instance_id"] != instance:
        return (
            f"this database belongs to another sereno ({rows[0]['instance_name']}): is this a copy of its "
            f"configuration, or its state file lost? To take it over: sereno trust {name}"
        )
    return ""


def _powerful(session: Session) -> str:
    if session.target.allow_privileged_dml:
        return ""
    rights = session.rows(_RIGHTS)[0]
    found = [right.upper() for right in ("superuser", "createrole", "replication", "bypassrls") if rights[right]]
    found += [f"membership in {power}" for power in rights["powers"]]
    if not rights["superuser"]:
        found += [f"the rights of the owner {owner}" for owner in rights["owners"]]
    if not found:
        return ""
    return (
        f"{session.facts.user} has {', '.join(found)}: a trigger on a cleaned table would run with them. Use the data "
        f"login of: sereno install {session.target.name} (or allow_privileged_dml = true)"
    )
