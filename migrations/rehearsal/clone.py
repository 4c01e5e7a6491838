"""The scratch database of a rehearsal: made from the schema of the target, without its rows."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrations.rehearsal.result import RehearsalError
from postgres.administrator import open_admin_session
from postgres.session import (
    MIGRATE,
    Session,
    Target,
    UnreachableError,
)
from postgres.statement_file import read_script

DUMP_SECONDS = 600
LARGEST_DUMP = 256 * 1024 * 1024
PREFIX = "sereno_rehearsal_"

_NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|SET transaction_timeout = 0;)?\n", re.MULTILINE)
"""Comments, the random token, and the setting that a newer pg_dump writes for older servers."""
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_LEDGER = read_script("postgres.fencing", "migration_ledger")
_EXTENSIONS = sql.SQL("SELECT extname::text AS name FROM pg_catalog.pg_extension")
_AVAILABLE = sql.SQL("SELECT name::text AS name FROM pg_catalog.pg_available_extensions")
_ROLES = sql.SQL(
    "SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"
)
_MAY_CREATE = sql.SQL(
    "SELECT rolsuper OR rolcreaterole AS may FROM pg_catalog.pg_roles WHERE rolname = current_user"
)
_MADE = sql.SQL("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s")
_LOCALE = sql.SQL(
    "SELECT pg_catalog.has_database_privilege({role}, oid, 'CREATE') AS creates, "
    "pg_catalog.pg_encoding_to_char(encoding) AS encoding, datcollate::text AS collate, "
    "datctype::text AS ctype, pg_catalog.pg_get_userbyid(datdba)::text AS owner "
    "FROM pg_catalog.pg_database WHERE datname = current_database()"
)


@dataclass(frozen=True, slots=True)
class Source:
    """The properties that a scratch server has to share, read from the target."""

    version: int
    system_identifier: str
    roles: tuple[str, ...]
    extensions: tuple[str, ...]
    encoding: str
    collate: str
    ctype: str
    owner: str = ""
    """The owner of the database, who owns the schema public from 15 on."""
    creates: bool = False
    """Whether the owner of the tables may create schemas and trusted extensions."""


def read_source(session: Session) -> Source:
    """Return version, roles, extensions and locale of a database."""
    target = session.target
    role = target.migrate_role or target.logins[MIGRATE].user
    locale = session.rows(_LOCALE.format(role=sql.Literal(role)))[0]
    return Source(
        session.facts.version,
        session.facts.system_identifier,
        tuple(row["name"] for row in session.rows(_ROLES)),
        tuple(row["name"] for row in session.rows(_EXTENSIONS)),
        **locale,
    )


def dump_schema(target: Target, version: int, folders: list[Path]) -> str:
    """Return the schema of a database as the owner of its tables sees it, without rows.

    Raises RehearsalError if no pg_dump is new enough, or it fails.
    """
    program = _find_program(version // 10000, folders)
    login = target.logins[MIGRATE]
    conninfo = make_conninfo(target.conninfo, user=login.user, application_name="sereno/migrate")
    if login.password is not None:
        conninfo = make_conninfo(conninfo, password=login.password)
    place, environment = _without_password(conninfo)
    command = [
        program,
        *("--schema-only", "--no-publications", "--no-subscriptions", "--no-tablespaces"),
        *("--exclude-schema=sereno", f"--role={target.migrate_role}", f"--dbname={place}"),
    ]
    with tempfile.TemporaryFile() as file:
        try:
            done = subprocess.run(  # noqa: S603 - a program of PostgreSQL, without a shell
                command, stdout=file, stderr=subprocess.PIPE, timeout=DUMP_SECONDS,
                env=environment, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RehearsalError(f"{program}: {error}") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            reason = lines[0] if lines else f"exit code {done.returncode}"
            raise RehearsalError(
                f"{target.name}: the schema cannot be dumped as {login.user}: {reason}"
            )
        if file.tell() > LARGEST_DUMP:
            raise RehearsalError(f"{target.name}: its schema is larger than 256 MiB")
        file.seek(0)
        return file.read().decode()


def canonical(dump: str) -> str:
    """Return a dump without comments, blank lines and its random token. Pure."""
    return _NOISE.sub("", dump)


def dump_again(conninfo: str, version: int, folders: list[Path]) -> str:
    """Return the canonical dump of a scratch database."""
    program = _find_program(version // 10000, folders)
    place, environment = _without_password(conninfo)
    command = [program, "--schema-only", "--exclude-schema=sereno"]
    command += ["--exclude-table=*.sereno_archive_*", f"--dbname={place}"]
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL, without a shell
        command, capture_output=True, timeout=DUMP_SECONDS, check=False, env=environment
    )
    if done.returncode != 0:
        raise RehearsalError(f"the scratch database cannot be dumped: {done.stderr.decode()[:200]}")
    return canonical(done.stdout.decode())


def _without_password(conninfo: str) -> tuple[str, dict[str, str]]:
    """Return a conninfo for a command line, which everybody may read, and the environment."""
    parts = conninfo_to_dict(conninfo)
    password = parts.pop("password", None)
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    if password:
        environment["PGPASSWORD"] = str(password)
    return make_conninfo(**{key: str(value) for key, value in parts.items()}), environment


def _find_program(major: int, folders: list[Path]) -> str:
    """Return a pg_dump that is not older than the server. Raises RehearsalError."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places += sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    found = [str(place / "pg_dump") for place in (*folders, *places)]
    if on_path := shutil.which("pg_dump"):
        found.insert(len(folders), on_path)
    versions = {program: _major(program) for program in found}
    usable = [program for program in found if versions[program] >= major]
    if usable:
        return min(usable, key=lambda program: versions[program])
    raise RehearsalError(
        f"no pg_dump of version {major} or newer was found; install the package "
        f"postgresql-client-{major}"
    )


def _major(program: str) -> int:
    if not Path(program).exists():
        return 0
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL, without a shell
        [program, "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    match = _VERSION.search(done.stdout)
    return int(match[1]) if match else 0


@contextmanager
def scratch_database(
    server: str, source: Source, dump: str, role: str, *, embedded: bool
) -> Iterator[tuple[str, str]]:
    """Create a scratch database from a dump, and drop it.

    Yield its conninfo, and that of a login that may only become `role`.

    Raises RehearsalError with the differences if the server is not like the target's.
    """
    name = f"{PREFIX}{secrets.token_hex(6)}"
    try:
        with open_admin_session(server, "migrations.scratch") as connection:
            _require_like(connection, source, embedded=embedded)
            _create(connection, name, source, embedded=embedded)
    except UnreachableError as error:
        raise RehearsalError(str(error)) from None
    except psycopg.Error as error:
        raise RehearsalError(f"migrations.scratch: {_line(error)}") from None
    conninfo = make_conninfo(server, dbname=name)
    try:
        _restore(conninfo, dump)
        if source.creates:
            _let_create(conninfo, name, role)
        yield conninfo, _plain_login(conninfo, name, role)
    finally:
        with open_admin_session(server, "migrations.scratch") as connection:
            dropped = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(dropped.format(sql.Identifier(name)))
            if connection.execute(_MADE, (name,)).fetchone() is not None:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _let_create(conninfo: str, name: str, role: str) -> None:
    """Let the owner create schemas, as in the target: a dump has no rights on the database."""
    grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
    with open_admin_session(conninfo, "migrations.scratch") as connection:
        connection.execute(grant.format(sql.Identifier(name), sql.Identifier(role)))


def _plain_login(conninfo: str, name: str, role: str) -> str:
    """Return the conninfo of a login that may only become the owner, as in a real run.

    The code of the owner runs in its sessions. It is made where the scratch login may; one that may
    not make roles is plain itself. Raises RehearsalError.
    """
    with open_admin_session(conninfo, "migrations.scratch") as connection:
        may = connection.execute(_MAY_CREATE).fetchone()
        if may is None or not may["may"]:
            return conninfo
        password, login = secrets.token_hex(16), sql.Identifier(name)
        verifier = connection.pgconn.encrypt_password(
            password.encode(), name.encode(), b"scram-sha-256"
        )
        for statement in (
            sql.SQL("CREATE ROLE {0} LOGIN NOINHERIT PASSWORD {1}"),
            sql.SQL("GRANT {2} TO {0}"),
            sql.SQL("GRANT USAGE ON SCHEMA sereno TO {0}"),
            sql.SQL("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA sereno TO {0}"),
        ):
            made = statement.format(login, sql.Literal(verifier.decode()), sql.Identifier(role))
            connection.execute(made)
    plain = make_conninfo(conninfo, user=name, password=password)
    try:
        open_admin_session(plain, "migrations.scratch").close()
    except UnreachableError as error:
        raise RehearsalError(
            f"{error}: the rehearsal works as a role that it makes, without superuser; let roles "
            "log in by password in the pg_hba.conf of the scratch server"
        ) from None
    return plain


def _require_like(
    connection: psycopg.Connection[dict[str, object]], source: Source, *, embedded: bool
) -> None:
    """Raise RehearsalError with what the scratch server lacks; an embedded one gets the roles."""
    roles = {str(row["name"]) for row in connection.execute(_ROLES)}
    missing = [role for role in source.roles if role not in roles]
    if embedded:
        for role in missing:
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        return
    available = {str(row["name"]) for row in connection.execute(_AVAILABLE)}
    lacking = [one for one in source.extensions if one not in available]
    major, wanted = connection.info.server_version // 10000, source.version // 10000
    differences = {
        f"its major version is {major}, not {wanted}": major != wanted,
        f"it lacks the extensions {', '.join(lacking)}": bool(lacking),
        f"it lacks the roles {', '.join(missing)}": bool(missing),
    }
    if found := [sentence for sentence, differs in differences.items() if differs]:
        raise RehearsalError(f"migrations.scratch is not like the target: {'; '.join(found)}")


def _create(
    connection: psycopg.Connection[dict[str, object]], name: str, source: Source, *, embedded: bool
) -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
        sql.Identifier(name), sql.Literal(source.encoding)
    )
    if not embedded:
        statement += sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(source.collate), sql.Literal(source.ctype)
        )
    connection.execute(statement)
    if source.owner:
        named = sql.SQL("ALTER DATABASE {} OWNER TO {}")
        connection.execute(named.format(sql.Identifier(name), sql.Identifier(source.owner)))


def _restore(conninfo: str, dump: str) -> None:
    """Run a dump, and make the ledger beside it. Raises RehearsalError."""
    with open_admin_session(conninfo, "migrations.scratch") as connection:
        try:
            connection.execute("CREATE SCHEMA sereno")  # extensions of sereno lie in it
            connection.execute(canonical(dump).encode())
            for statement in _LEDGER:
                connection.execute(statement)
        except psycopg.Error as error:
            raise RehearsalError(
                f"the schema of the target cannot be restored on the scratch server: {_line(error)}"
            ) from None


def _line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().splitlines()[0]
