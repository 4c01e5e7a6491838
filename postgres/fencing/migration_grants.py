"""The grants of the `migrate` login: it may become one owner of tables, and write the ledger.

It inherits nothing: without SET ROLE it may do no more than add rows to the ledger.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from postgres.identifiers import quote_identifier
from postgres.session import MAINTAIN, MIGRATE, Session, Target
from postgres.statement_file import read_script

LEDGER: dict[str, tuple[str, ...]] = {
    "migration": (
        *("migration", "format", "title", "type", "checksum", "phase", "state", "run", "reason"),
    ),
    "migration_run": (
        *("run", "migration", "action", "environment", "until", "plan_hash", "principal"),
        *("reason", "version"),
    ),
    "migration_step": (
        *("run", "migration", "phase", "file", "checksum", "statement", "state", "attempts"),
        *("milliseconds", "rows", "reason"),
    ),
    "migration_batch": (
        *("run", "migration", "file", "checksum", "lo", "hi", "keys", "milliseconds"),
    ),
    "migration_check": (
        *("run", "migration", "phase", "name", "kind", "ok", "violations", "sample"),
        "milliseconds",
    ),
    "migration_gate": (
        *("migration", "checksum", "environment", "gate", "state", "principal", "note"),
        "evidence",
    ),
    "migration_file": ("run", "migration", "checksum", "file", "content"),
    "migration_snapshot": ("run", "migration", "phase", "catalog"),
}
"""The tables of the ledger, each with the columns that the login may fill: time, order and writer
are set by the server alone."""

_SCHEMA = read_script("postgres.fencing", "migration_ledger")
_INHERIT_OPTION_SINCE = 160000
_ROLES = sql.SQL(
    """
    WITH RECURSIVE reached AS (
      SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = ANY (%s)
      UNION
      SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reached ON m.member = reached.oid
    )
    SELECT r.rolname::text AS name, r.rolsuper AS superuser, r.rolcreaterole AS createrole,
           r.rolreplication AS replication, r.rolbypassrls AS bypassrls
    FROM pg_catalog.pg_roles r JOIN reached USING (oid) ORDER BY 1
    """
)
_HARMLESS = frozenset(
    {
        *("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"),
        "pg_database_owner",
    }
)
"""Predefined roles whose rights an owner's code may have."""
_POWERS = {
    "superuser": "a superuser",
    "createrole": "allowed to create roles",
    "replication": "allowed to replicate",
    "bypassrls": "allowed to bypass row-level policies",
}
_ROLE_NAMES = sql.SQL(
    "SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname = ANY (%s) ORDER BY 1"
)
_CREATE = sql.SQL(
    """
    SELECT pg_catalog.has_database_privilege(%(role)s, current_database(), 'CREATE') AS database,
           ARRAY(SELECT s FROM unnest(%(path)s::text[]) s
                 WHERE to_regnamespace(pg_catalog.quote_ident(s)) IS NULL) AS missing,
           ARRAY(SELECT s FROM unnest(%(path)s::text[]) s
                 WHERE to_regnamespace(pg_catalog.quote_ident(s)) IS NOT NULL
                   AND NOT pg_catalog.has_schema_privilege(
                         %(role)s, pg_catalog.quote_ident(s), 'CREATE')) AS closed
    """
)

Administrator = psycopg.Connection[dict[str, Any]]


def refusal(administrator: Administrator, target: Target) -> str:
    """Return why the `migrate` login cannot be prepared; empty if it can, or is not configured."""
    if MIGRATE not in target.logins:
        return ""
    users = [target.logins[MIGRATE].user, target.migrate_role]
    return _reason(target, list(administrator.execute(_ROLES, (users,))))


def login_reason(session: Session, target: Target) -> str:
    """Return why no migration may run as the `migrate` login of a database; empty if one may."""
    users = [target.logins[MIGRATE].user, target.migrate_role]
    return _reason(target, session.rows(_ROLES, (users,)))


def _reason(target: Target, rows: Sequence[Mapping[str, Any]]) -> str:
    user, role = target.logins[MIGRATE].user, target.migrate_role
    found = {row["name"]: row for row in rows}
    if role not in found:
        return f"databases.{target.name}.migrate.role: there is no role {quote_identifier(role)}"
    for name, who in found.items():
        if power := next((text for key, text in _POWERS.items() if who[key]), ""):
            return f"{name} is {power}; migrations run as a plain owner of tables"
    trusted = frozenset().union(
        *(owners for owners in (*target.trust, *target.domains.values()) if role in owners)
    )
    if others := sorted(found.keys() - {user, role} - _HARMLESS - trusted):
        return (
            f"{user} or {role} is a member of {others[0]}: code of one owner would reach the "
            f"tables of the other; REVOKE {quote_identifier(others[0])} FROM it, or use another "
            "role"
        )
    return ""


def migration_grants(administrator: Administrator, target: Target) -> Iterator[sql.Composed]:
    """Yield the ledger and the grants of the login."""
    yield from (sql.Composed([statement]) for statement in _SCHEMA)
    ledger = sql.SQL(", ").join(sql.Identifier("sereno", table) for table in LEDGER)
    maintain = sql.Identifier(target.logins[MAINTAIN].user)
    yield sql.SQL("GRANT SELECT ON {} TO {}").format(ledger, maintain)
    yield from _maintenance_grants(administrator, target, maintain)
    if MIGRATE not in target.logins:
        return
    user, role = sql.Identifier(target.logins[MIGRATE].user), sql.Identifier(target.migrate_role)
    newer = administrator.info.server_version >= _INHERIT_OPTION_SINCE
    yield sql.SQL("ALTER ROLE {} NOINHERIT").format(user)
    options = sql.SQL(" WITH INHERIT FALSE, SET TRUE" if newer else "")
    yield sql.SQL("GRANT {} TO {}{}").format(role, user, options)
    yield sql.SQL("GRANT SELECT ON {} TO {}").format(ledger, user)
    for table, columns in LEDGER.items():
        yield sql.SQL("GRANT INSERT ({}) ON {} TO {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("sereno", table), user
        )


def _maintenance_grants(
    administrator: Administrator, target: Target, maintain: sql.Identifier
) -> Iterator[sql.Composed]:
    """Yield the grants on maintenance mode; code of an owner never runs as its writer."""
    yield sql.SQL(
        "GRANT SELECT, INSERT (until, reason), UPDATE (until) ON sereno.maintenance TO {}"
    ).format(maintain)
    roles = _existing(administrator, target)
    for role in map(sql.Identifier, roles):
        yield sql.SQL("GRANT USAGE ON SCHEMA sereno TO {}").format(role)
        yield sql.SQL("GRANT SELECT (since, until, reason) ON sereno.maintenance TO {}").format(
            role
        )


def _existing(administrator: Administrator, target: Target) -> list[str]:
    """Return the roles of applications that exist."""
    rows = administrator.execute(_ROLE_NAMES, (list(target.application_roles),))
    return [row["name"] for row in rows]


def migration_shortcomings(administrator: Administrator, target: Target) -> Iterator[str]:
    """Yield what migrations will not be able to do, each with its cure."""
    for missing in sorted({*target.application_roles} - {*_existing(administrator, target)}):
        yield f"migrations.application_roles: there is no role {quote_identifier(missing)}"
    if MIGRATE not in target.logins:
        return
    role = target.migrate_role
    path: Sequence[str] = list(target.migrate_path)
    row = administrator.execute(_CREATE, {"role": role, "path": path}).fetchone()
    if row is None:
        return
    named = quote_identifier(role)
    if not row["database"]:
        database = quote_identifier(administrator.info.dbname)
        yield (
            f"migrations: {role} may not create schemas and trusted extensions: GRANT CREATE ON "
            f"DATABASE {database} TO {named}"
        )
    for schema in row["closed"]:
        yield (
            f"migrations: {role} may not create tables in {schema}: GRANT CREATE ON SCHEMA "
            f"{quote_identifier(schema)} TO {named}"
        )
    for schema in row["missing"]:
        yield f"migrations: the schema {schema} of migrate.search_path does not exist"
    yield (
        "migrations: no login may create untrusted extensions, event triggers or databases; a "
        "superuser does that by hand"
    )
