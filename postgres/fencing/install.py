"""The statements of `sereno install`: the schema `sereno` and the logins with minimal rights.

`maintain` is a member of pg_monitor, and of pg_maintain (from 17) or the tables' owners. Every
statement may be run again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from postgres.fencing.amcheck_grants import amcheck_grants
from postgres.fencing.domain_grants import (
    DomainGrant,
    TableGrant,
    data_grants,
    membership,
    owner_grants,
    roles,
    schema_grants,
    table_grant,
)
from postgres.fencing.migration_grants import (
    migration_grants,
    migration_shortcomings,
    refusal,
)
from postgres.fencing.trust_domain import group_of, join_cure, joined
from postgres.identifiers import Relation, quote_identifier
from postgres.session import MAINTAIN, Credentials, Login, Target
from postgres.statement_file import read_script, read_statement

_ROLES = sql.SQL(
    """
        SELECT rolname::text AS name, rolsuper AS superuser
        FROM pg_catalog.pg_roles
        WHERE rolname = ANY (%s)
    """
)
_MEMBERSHIPS = sql.SQL(
    """
    SELECT g.rolname::text AS name
    FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles r ON r.oid = m.member
    WHERE r.rolname = %s
    """
)
_SUPERUSER = sql.SQL(
    "SELECT rolsuper AS superuser FROM pg_catalog.pg_roles WHERE rolname = current_user"
)
_SUPERUSERS_TABLES = sql.SQL(
    """
    SELECT o.rolname::text AS owner, count(*) AS tables
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND o.rolsuper AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
      -- `maintain` is a member of a database owner that owns tables, and may maintain all of them
      AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
        JOIN pg_catalog.pg_class t ON t.relowner = r.oid AND t.relkind IN ('r', 'p', 'm')
        WHERE d.datname = current_database() AND NOT r.rolsuper)
    GROUP BY 1 ORDER BY 1
    """
)
_TABLES = read_statement("postgres.fencing", "table_grants")
_SCHEMA = read_script("postgres.fencing", "schema")
_MD5_PASSWORDS = read_script("postgres.fencing", "md5_passwords")
_PLANTED = sql.SQL(
    """
    SELECT o.rolname = current_user OR o.rolsuper AS ours,
           NOT EXISTS (SELECT FROM pg_catalog.pg_class c
                       JOIN pg_catalog.pg_roles t ON t.oid = c.relowner
                       WHERE c.relnamespace = n.oid
                         AND (t.rolname <> current_user AND NOT t.rolsuper
                              OR c.relkind NOT IN ('r', 'i', 'S')
                              OR c.relhastriggers OR c.relhasrules)) AS plain
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner
    WHERE n.nspname = 'sereno'
    """
)
_FILLED = sql.SQL(
    'id, instance, "schema", "table", destination, file, "position", length, sha256, rows, '
    "first, last, columns"
)
"""The columns that a batch may fill; time and order are set by the server alone."""
_IDENTIFIER = sql.SQL(
    """
    SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS identifier
    WHERE has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
    """
)
_MAINTAIN_ROLE_SINCE = 170000
_KEPT = frozenset({"pg_monitor", "pg_maintain"})


LONGEST_SHOWN = 200


class InstallError(Exception):
    """The database cannot be prepared; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """The logins and tables to prepare."""

    target: Target
    tables: Mapping[Relation, str]
    """The tables that rows leave, each with the option that names it."""
    archives: Sequence[Relation]
    """The tables that rows are moved to."""
    instance_id: str
    instance_name: str
    database: str
    """The name of the database in the configured connection string."""

    def users(self, kind: str) -> list[str]:
        """Return the roles of the logins of a kind."""
        return [one.user for login, one in sorted(self.target.logins.items()) if login.kind == kind]


Administrator = psycopg.Connection[dict[str, Any]]


def install_statements(
    administrator: Administrator, request: InstallRequest
) -> Iterator[sql.Composed]:
    """Yield the statements in order; reads the catalog only.

    Raises InstallError for a missing table, and for tables that no login may reach.
    """
    logins = request.target.logins
    users = {credentials.user for credentials in logins.values()}
    existing = {
        row["name"]: row["superuser"] for row in administrator.execute(_ROLES, (list(users),))
    }
    tables = [table_grant(row) for row in administrator.execute(_TABLES)]
    _refuse(administrator, request, existing, {table.relation for table in tables})
    domains = _domains(request, tables)
    for role in sorted(users - existing.keys()):
        yield sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role))
    yield from _passwords(administrator, logins.values())
    yield from _schema(request)
    yield from migration_grants(administrator, request.target)
    yield from _maintain(administrator, request, tables)
    for domain in domains:
        former = _memberships(administrator, domain.data.user) if domain.data else ()
        yield from data_grants(domain, tables, request.tables, request.archives, former)
        if domain.owner is not None:
            if domain.superusers:
                raise InstallError(
                    f"{domain.owner.user} cannot become a member of the superuser "
                    f"{min(domain.superusers)}: give the tables an owner of their own "
                    "(ALTER TABLE … OWNER TO …)"
                )
            yield from owner_grants(domain, administrator.info.server_version)


def _refuse(
    administrator: Administrator,
    request: InstallRequest,
    existing: Mapping[str, bool],
    present: Collection[Relation],
) -> None:
    """Raise InstallError for rights that would make the logins unsafe."""
    if (here := administrator.info.dbname) != (database := request.database):
        raise InstallError(
            f"--admin connects to the database {here!r}, but databases.{request.target.name}.dsn "
            f"names {database!r}"
        )
    for schema in administrator.execute(_PLANTED):
        if not (schema["ours"] and schema["plain"]):
            raise InstallError(
                "the schema sereno exists and was not created by sereno; examine and drop it"
            )
    for role, superuser in existing.items():
        if superuser:
            raise InstallError(
                f"{role} is a superuser; give sereno its own logins (maintain.user, data.user)"
            )
    if reason := refusal(administrator, request.target):
        raise InstallError(reason)
    named = dict.fromkeys(request.archives, "jobs.archive.tables") | dict(request.tables)
    missing = [table for table in named if table not in present]
    if missing:
        raise InstallError(f"{named[missing[0]]}: there is no table {missing[0]} in this database")


def _domains(request: InstallRequest, tables: Sequence[TableGrant]) -> list[DomainGrant]:
    """Return the trust domains. Raises InstallError for a listed table outside of all of them."""
    target = request.target
    superusers = frozenset(table.owner for table in tables if table.superuser)
    trust = (*target.trust, *target.domains.values(), superusers)
    groups = joined({table.owner for table in tables}, trust)
    named = {*request.tables, *request.archives}
    listed = {table.relation: table.owner for table in tables if table.relation in named}
    declared = target.domains or {"": _only_owners(groups, listed, tables)}
    domains = [
        _domain(target, name, group_of(groups, owners), tables) for name, owners in declared.items()
    ]
    _require_covered(target, listed, frozenset().union(*(one.owners for one in domains)))
    return domains


def _domain(
    target: Target, name: str, owners: frozenset[str], tables: Sequence[TableGrant]
) -> DomainGrant:
    own = [table for table in tables if table.owner in owners]
    data, owner = target.logins.get(Login("data", name)), target.logins.get(Login("owner", name))
    return DomainGrant(data, owner, owners, own)


def _require_covered(
    target: Target, listed: Mapping[Relation, str], covered: frozenset[str]
) -> None:
    for relation, owner in listed.items():
        if owner not in covered:
            raise InstallError(
                f"{relation} belongs to {quote_identifier(owner)}, which is in no trust domain: "
                f"{join_cure(target, min(covered, default=''), owner)}"
            )


def _only_owners(
    groups: Collection[frozenset[str]], listed: Mapping[Relation, str], tables: Sequence[TableGrant]
) -> frozenset[str]:
    """Return the owners of the only domain: of a listed table, else of most tables."""
    counts = Counter(listed.values()) or Counter(table.owner for table in tables)
    if not counts:
        return frozenset()
    first = max(sorted(counts), key=lambda owner: counts[owner])
    return next(group for group in groups if first in group)


def shortcomings(administrator: Administrator, request: InstallRequest) -> Iterator[str]:
    """Yield the rights that the logins will lack, each with its cure."""
    name = request.target.name
    if not _is_superuser(administrator):
        yield (
            "statistics and configuration files: only a superuser can grant SELECT on "
            "pg_statistic and pg_statistic_ext_data to `maintain`, and the views of the "
            "configuration files; without it missing statistics, bloated indexes and faults of "
            "pg_hba.conf are not found"
        )
    yield from migration_shortcomings(administrator, request.target)
    if administrator.info.server_version >= _MAINTAIN_ROLE_SINCE:
        if not request.users("owner"):
            yield (
                "indexes and partitions: `maintain` may not drop the index left by a failed "
                "rebuild, nor detach a partition; to allow it, configure "
                f"databases.{name}.owner (or that of the trust domain) and install again"
            )
        return
    own = [table_grant(row) for row in administrator.execute(_TABLES)]
    if any(one.owner == administrator.info.user and not one.superuser for one in own):
        yield (
            f"memberships: tables belong to {administrator.info.user}, which connects here, so "
            "`maintain` becomes a member of it (before PostgreSQL 17 only owners may vacuum); to "
            "avoid that, give the tables an owner of their own"
        )
    for row in administrator.execute(_SUPERUSERS_TABLES):
        yield (
            f"tables of the superuser {row['owner']} ({row['tables']}): before PostgreSQL 17 no "
            "other role may analyze or vacuum them; give them an owner of their own (ALTER TABLE "
            "… OWNER TO …), then install again"
        )


def system_identifier(administrator: Administrator) -> str | None:
    """Return the identifier of the server; None for a role that may not see it."""
    row = administrator.execute(_IDENTIFIER).fetchone()
    return row["identifier"] if row else None


def install(administrator: Administrator, commands: Sequence[sql.Composed]) -> None:
    """Run the statements in one transaction. Raises InstallError; then nothing was changed."""
    try:
        with administrator.transaction():
            for command in commands:
                _run(administrator, command)
    except psycopg.Error as error:
        raise InstallError(f"{error.diag.message_primary or error}; nothing was changed") from None


def _run(administrator: Administrator, command: sql.Composed) -> None:
    try:
        administrator.execute(command)
    except psycopg.errors.InsufficientPrivilege as error:
        who = quote_identifier(administrator.info.user)
        lines = printable_statements(command).splitlines()
        statement = "\n".join(one for one in lines if one[:2] != "--")[:LONGEST_SHOWN]
        statement = statement or "ALTER ROLE … PASSWORD of one of the logins"
        raise InstallError(
            f"{error.diag.message_primary}; nothing was changed. {who} may not run:\n"
            f"  {statement}\n"
            "  connect as a superuser, or let one run it (see --print), then install again"
        ) from None


def printable_statements(command: sql.Composed) -> str:
    """Return a command as text that can be run; a password is replaced by a psql instruction."""
    text = command.as_string(None)
    if " PASSWORD " not in text:
        return f"{text};"
    return (
        "-- set its password:  \\password "
        f"{text.partition(' PASSWORD ')[0].removeprefix('ALTER ROLE ')}"
    )


def _passwords(
    administrator: Administrator, logins: Iterable[Credentials]
) -> Iterator[sql.Composed]:
    """Set passwords as SCRAM verifiers computed here: the server's log never sees a password."""
    for login in logins:
        if login.password is not None:
            verifier = administrator.pgconn.encrypt_password(
                login.password.encode(), login.user.encode(), b"scram-sha-256"
            )
            yield sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(login.user), sql.Literal(verifier.decode())
            )


def _schema(request: InstallRequest) -> Iterator[sql.Composed]:
    everybody = roles(one.user for one in request.target.logins.values())
    writers = roles([*request.users("data"), *request.users("owner")])
    maintain = sql.Identifier(request.target.logins[MAINTAIN].user)
    yield from (sql.Composed([statement]) for statement in _SCHEMA)
    former = sql.Literal(request.users("data")[0])
    yield sql.SQL(
        "UPDATE sereno.archive_batch SET written_by = {} WHERE written_by IS NULL"
    ).format(former)
    yield sql.SQL("ALTER TABLE sereno.archive_batch ALTER COLUMN written_by SET NOT NULL").format()
    yield sql.SQL("GRANT USAGE ON SCHEMA sereno TO {}").format(everybody)
    yield sql.SQL(
        "GRANT SELECT ON sereno.owner, sereno.archive_batch, sereno.detached_partition, "
        "sereno.detached_partition_end TO {}"
    ).format(everybody)
    yield sql.SQL(
        "REVOKE INSERT, UPDATE ON sereno.archive_batch, sereno.detached_partition FROM {}"
    ).format(everybody)
    yield sql.SQL("GRANT INSERT ({}) ON sereno.archive_batch TO {}").format(_FILLED, writers)
    yield sql.SQL("GRANT UPDATE (expired_at) ON sereno.archive_batch TO {}").format(maintain)
    yield sql.SQL("GRANT INSERT, UPDATE, DELETE ON sereno.owner TO {}").format(maintain)
    yield sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON sereno.claim TO {}").format(maintain)
    yield sql.SQL(
        "INSERT INTO sereno.owner (instance_id, instance_name) "
        "SELECT {}, {} WHERE NOT EXISTS (SELECT FROM sereno.owner)"
    ).format(sql.Literal(request.instance_id), sql.Literal(request.instance_name))


def _maintain(
    administrator: Administrator, request: InstallRequest, tables: Sequence[TableGrant]
) -> Iterator[sql.Composed]:
    user = request.target.logins[MAINTAIN].user
    role, version = sql.Identifier(user), administrator.info.server_version
    yield sql.SQL("GRANT pg_monitor TO {}").format(role)
    for former in _memberships(administrator, user):
        if former in _KEPT:
            continue
        if former == "pg_read_all_data" or version >= _MAINTAIN_ROLE_SINCE:
            yield sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(former), role)
    yield from schema_grants(tables, user)
    if _is_superuser(administrator):
        # the indexes of TOAST tables are rebuilt by name
        yield sql.SQL("GRANT USAGE ON SCHEMA pg_toast TO {}").format(role)
        yield sql.SQL(
            "GRANT SELECT ON pg_catalog.pg_statistic, pg_catalog.pg_statistic_ext_data, "
            "pg_catalog.pg_hba_file_rules, pg_catalog.pg_file_settings TO {}"
        ).format(role)
        yield sql.SQL(
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules(), "
            "pg_catalog.pg_show_all_file_settings() TO {}"
        ).format(role)
        yield from amcheck_grants(administrator, user)
        yield from (sql.Composed([statement]) for statement in _MD5_PASSWORDS)
        yield sql.SQL("GRANT EXECUTE ON FUNCTION sereno.md5_passwords() TO {}").format(role)
    if version >= _MAINTAIN_ROLE_SINCE:
        yield sql.SQL("GRANT pg_maintain TO {}").format(role)
        return
    own = {one.user for one in request.target.logins.values()}
    for owner in sorted({table.owner for table in tables if not table.superuser} - own):
        yield membership(owner, user, version)


def _memberships(administrator: Administrator, user: str) -> list[str]:
    return [row["name"] for row in administrator.execute(_MEMBERSHIPS, (user,))]


def _is_superuser(administrator: Administrator) -> bool:
    row = administrator.execute(_SUPERUSER).fetchone()
    return bool(row and row["superuser"])
