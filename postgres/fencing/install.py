"""The statements of `sereno install`: the schema `sereno` and two logins with minimal rights.

`maintain` is a member of pg_monitor, pg_read_all_data, and pg_maintain (from 17) or the tables'
owners. `data` has SELECT and DELETE on the listed tables and is a member of no role. Every
statement may be run again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from postgres.identifiers import Relation
from postgres.session import Credentials

_ROLES = sql.SQL(
    """
        SELECT rolname::text AS name, rolsuper AS superuser
        FROM pg_catalog.pg_roles
        WHERE rolname = ANY (%s)
    """
)
_OWNERS = sql.SQL(
    """
    SELECT DISTINCT o.rolname::text AS name
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND NOT o.rolsuper AND o.rolname <> ALL (%s)
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1
    """
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
_PRESENT = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
    """
)
_PLANTED = sql.SQL(
    """
    SELECT n.nspowner = current_user::regrole OR o.rolsuper AS ours,
           NOT EXISTS (SELECT FROM pg_catalog.pg_class c
                       JOIN pg_catalog.pg_roles t ON t.oid = c.relowner
                       WHERE c.relnamespace = n.oid
                         AND (c.relowner <> current_user::regrole AND NOT t.rolsuper
                              OR c.relkind NOT IN ('r', 'i', 'S')
                              OR c.relhastriggers OR c.relhasrules)) AS plain
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner
    WHERE n.nspname = 'sereno'
    """
)
_OURS = (
    sql.SQL("CREATE SCHEMA IF NOT EXISTS sereno"),
    sql.SQL("REVOKE ALL ON SCHEMA sereno FROM PUBLIC"),
    sql.SQL(
        "CREATE TABLE IF NOT EXISTS sereno.owner (instance_id text PRIMARY KEY, "
        "instance_name text NOT NULL, trusted_at timestamptz NOT NULL DEFAULT now())"
    ),
    sql.SQL(
        "CREATE TABLE IF NOT EXISTS sereno.claim (instance text, schedule text, job text, scope "
        "text, "
        "nominal timestamp, state text NOT NULL, reason text NOT NULL DEFAULT '', "
        "steps_left bigint NOT NULL DEFAULT 0, taken_by text NOT NULL, attempts int NOT NULL "
        "DEFAULT 1, "
        "taken_at timestamptz NOT NULL DEFAULT now(), settled_at timestamptz, "
        "PRIMARY KEY (instance, schedule, job, scope, nominal))"
    ),
    sql.SQL(
        "CREATE TABLE IF NOT EXISTS sereno.archive_batch (id uuid PRIMARY KEY, instance text NOT "
        "NULL, "
        '"schema" text NOT NULL, "table" text NOT NULL, destination text NOT NULL, file text, '
        '"position" bigint, length bigint, sha256 text, rows bigint NOT NULL, first text NOT NULL, '
        "last text NOT NULL, columns jsonb NOT NULL, archived_at timestamptz NOT NULL DEFAULT "
        "now(), "
        "restored_at timestamptz, expired_at timestamptz)"
    ),
    sql.SQL(
        "ALTER TABLE sereno.archive_batch ADD COLUMN IF NOT EXISTS ordinal bigint GENERATED "
        "ALWAYS AS IDENTITY"
    ),
    sql.SQL(
        "CREATE UNIQUE INDEX IF NOT EXISTS archive_batch_ordinal ON sereno.archive_batch (ordinal)"
    ),
    sql.SQL(
        "CREATE TABLE IF NOT EXISTS sereno.detached_partition (id uuid PRIMARY KEY DEFAULT "
        "gen_random_uuid(), "
        'instance text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL, '
        '"oid" oid NOT NULL, '
        "partition_schema text NOT NULL, partition text NOT NULL, begun_at timestamptz NOT NULL "
        "DEFAULT now(), "
        "settled_at timestamptz)"
    ),
)
_FILLED = sql.SQL(
    'id, instance, "schema", "table", destination, file, "position", length, sha256, rows, '
    "first, last, columns"
)
"""The columns that a batch may fill; time and order are set by the server alone."""
_MAINTAIN_ROLE_SINCE, _INHERIT_OPTION_SINCE = 170000, 160000


class InstallError(Exception):
    """The database cannot be prepared; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """The logins and tables to prepare."""

    maintain: Credentials
    data: Credentials
    tables: Mapping[Relation, str]
    """The tables that rows leave, each with the option that names it."""
    archives: Sequence[Relation]
    """The tables that rows are moved to."""
    instance_id: str
    instance_name: str


Administrator = psycopg.Connection[dict[str, Any]]


def install_statements(
    administrator: Administrator, request: InstallRequest
) -> Iterator[sql.Composed]:
    """Yield the statements in order; reads the catalog only.

    Raises InstallError for a missing table.
    """
    roles = {request.maintain.user, request.data.user}
    existing = {
        row["name"]: row["superuser"] for row in administrator.execute(_ROLES, (list(roles),))
    }
    _refuse(administrator, request, existing)
    for role in sorted(roles - existing.keys()):
        yield sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role))
    yield from _passwords(administrator, request)
    yield from _schema(request)
    yield from _maintain(administrator, request)
    yield from _data(request)


def _refuse(
    administrator: Administrator, request: InstallRequest, existing: Mapping[str, bool]
) -> None:
    """Raise InstallError for rights that would make the two logins unsafe."""
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
    if request.maintain.user == request.data.user:
        raise InstallError(
            "maintain and data must be two different logins: one maintains, the other deletes"
        )
    present = _present(administrator)
    named = dict.fromkeys(request.archives, "jobs.archive.tables") | dict(request.tables)
    missing = [table for table in named if table not in present]
    if missing:
        raise InstallError(f"{named[missing[0]]}: there is no table {missing[0]} in this database")


def shortcomings(administrator: Administrator) -> Iterator[str]:
    """Yield the rights that the logins will lack, each with its cure."""
    if administrator.info.server_version >= _MAINTAIN_ROLE_SINCE:
        yield (
            "indexes: `maintain` may not drop the index left by a failed rebuild, so it rebuilds "
            "none; to allow it, "
            "make it a member of their tables' owners (GRANT … TO … WITH INHERIT TRUE, SET FALSE)"
        )
        return
    for row in administrator.execute(_SUPERUSERS_TABLES):
        yield (
            f"{row['tables']} tables belong to the superuser {row['owner']}: before PostgreSQL "
            "17 no other role may "
            "analyze or vacuum them; give them an owner of their own (ALTER TABLE … OWNER TO …)"
        )


def install(administrator: Administrator, commands: Sequence[sql.Composed]) -> None:
    """Run the statements in one transaction. Raises InstallError; then nothing was changed."""
    try:
        with administrator.transaction():
            for command in commands:
                administrator.execute(command)
    except psycopg.Error as error:
        raise InstallError(f"{error.diag.message_primary or error}; nothing was changed") from None


def printable_statements(command: sql.Composed) -> str:
    """Return a command as text that can be run; a password is replaced by a psql instruction."""
    text = command.as_string(None)
    if " PASSWORD " not in text:
        return f"{text};"
    return (
        "-- set its password:  \\password "
        f"{text.partition(' PASSWORD ')[0].removeprefix('ALTER ROLE ')}"
    )


def _present(administrator: Administrator) -> set[Relation]:
    return {Relation(row["schema"], row["name"]) for row in administrator.execute(_PRESENT)}


def _passwords(administrator: Administrator, request: InstallRequest) -> Iterator[sql.Composed]:
    """Set passwords as SCRAM verifiers computed here: the server's log never sees a password."""
    for login in (request.maintain, request.data):
        if login.password is not None:
            verifier = administrator.pgconn.encrypt_password(
                login.password.encode(), login.user.encode(), b"scram-sha-256"
            )
            yield sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(login.user), sql.Literal(verifier.decode())
            )


def _schema(request: InstallRequest) -> Iterator[sql.Composed]:
    both = sql.SQL(", ").join(
        [sql.Identifier(request.maintain.user), sql.Identifier(request.data.user)]
    )
    yield from (sql.Composed([statement]) for statement in _OURS)
    yield sql.SQL("GRANT USAGE ON SCHEMA sereno TO {}").format(both)
    yield sql.SQL("GRANT SELECT ON sereno.archive_batch TO {}").format(both)
    yield sql.SQL("REVOKE INSERT, UPDATE ON sereno.archive_batch FROM {}").format(both)
    yield sql.SQL("GRANT INSERT ({}) ON sereno.archive_batch TO {}").format(_FILLED, both)
    yield sql.SQL("GRANT SELECT ON sereno.detached_partition TO {}").format(both)
    yield sql.SQL("GRANT SELECT ON sereno.owner TO {}").format(both)
    maintain = sql.Identifier(request.maintain.user)
    yield sql.SQL("GRANT UPDATE (expired_at) ON sereno.archive_batch TO {}").format(maintain)
    yield sql.SQL("GRANT INSERT, UPDATE, DELETE ON sereno.owner TO {}").format(maintain)
    yield sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON sereno.claim TO {}").format(maintain)
    yield sql.SQL("GRANT INSERT, UPDATE ON sereno.detached_partition TO {}").format(maintain)
    yield sql.SQL(
        "INSERT INTO sereno.owner (instance_id, instance_name) "
        "SELECT {}, {} WHERE NOT EXISTS (SELECT FROM sereno.owner)"
    ).format(sql.Literal(request.instance_id), sql.Literal(request.instance_name))


def _maintain(administrator: Administrator, request: InstallRequest) -> Iterator[sql.Composed]:
    role = sql.Identifier(request.maintain.user)
    yield sql.SQL("GRANT pg_monitor, pg_read_all_data TO {}").format(role)
    version = administrator.info.server_version
    if version >= _MAINTAIN_ROLE_SINCE:
        yield sql.SQL("GRANT pg_maintain TO {}").format(role)
        return
    options = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if version >= _INHERIT_OPTION_SINCE else "")
    for row in administrator.execute(_OWNERS, ([request.maintain.user, request.data.user],)):
        yield sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(row["name"]), role, options)


def _data(request: InstallRequest) -> Iterator[sql.Composed]:
    role = sql.Identifier(request.data.user)
    for schema in sorted({table.schema for table in (*request.tables, *request.archives)}):
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role)
    for table in request.tables:
        yield sql.SQL("GRANT SELECT, DELETE ON {} TO {}").format(table.identifier(), role)
    for table in request.archives:
        yield sql.SQL("GRANT INSERT ON {} TO {}").format(table.identifier(), role)
