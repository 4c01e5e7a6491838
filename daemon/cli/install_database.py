"""Installs in one database: its logins, the schema sereno, and a first log-in as each."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import fail
from daemon.exit_codes import Exit
from domain.place import SEPARATOR

if TYPE_CHECKING:
    from daemon.config.model import Login
    from daemon.context import Context
    from postgres.fencing.install import InstallRequest
    from postgres.session import Target

SHORT_PASSWORD = 12
NOTE_WIDTH = 79


@dataclass(frozen=True, slots=True)
class Installed:
    """The statements of an installation, the rights that are missing, and the refused logins."""

    target: "Target"
    statements: Sequence[str]
    shortcomings: Sequence[str]
    refused: Mapping[str, str]
    """The reason, with its cure, by user."""


def install_database(
    context: "Context",
    database: str,
    admin: str | None,
    *,
    print_only: bool = False,
    told: set[Path] | None = None,
) -> Installed:
    """Install in one database, and log in once as each login; exit with 2 if that fails.

    With `print_only` nothing is changed, and no login is tried. A password file that is `told` is
    not told again.
    """
    from postgres.administrator import open_admin_session
    from postgres.fencing import install
    from postgres.session import UnreachableError

    configured = _request(context, database, with_passwords=False)
    conninfo = administrator(admin, configured.target.conninfo, configured.database)
    try:
        with open_admin_session(conninfo, database) as connection:
            request = _prepared_request(
                context, database, set() if told is None else told, print_only=print_only
            )
            identifier = install.system_identifier(connection)
            commands = list(install.install_statements(connection, request))
            shortcomings = list(install.shortcomings(connection, request))
            if not print_only:
                install.install(connection, commands)
    except install.InstallError as error:
        fail(f"{database}: {error}", Exit.CANNOT)
    except UnreachableError as error:
        fail(f"{error}\n  {admin_hint(str(error), admin or '', database)}", Exit.CANNOT)
    refused = {} if print_only else _refused_logins(request.target, identifier)
    statements = list(map(install.printable_statements, commands))
    return Installed(request.target, statements, shortcomings, refused)


def _prepared_request(
    context: "Context", database: str, told: set[Path], *, print_only: bool
) -> "InstallRequest":
    """Return the request; the files of missing passwords are made first, unless it is printed."""
    if not print_only:
        _make_password_files(context, database, told)
    return _request(context, database, with_passwords=not print_only)


def admin_hint(reason: str, admin: str, what: str = "") -> str:
    """Return what to do when the administrator cannot connect; `what` is to be installed."""
    if "database" in reason and "dbname" not in admin and "/" not in admin.partition("://")[2]:
        return "give the database in --admin, like dbname=coop"
    if "database" in reason and "does not exist" in reason:
        return "create it (createdb), or correct dbname"
    if "Peer authentication" in reason or "role " in reason:
        return "connect as a superuser that exists; on Debian as root: user=postgres in --admin"
    if admin:
        return "correct --admin"
    command = f"sereno install {what} " if what else ""
    return f"install needs a role that may create roles: {command}--admin DSN"


def _make_password_files(context: "Context", database: str, told: set[Path]) -> None:
    """Make the password files that the logins name and that do not exist, with mode 0600."""
    import secrets

    from store.file_lock import write_new

    for login in context.config.databases[database].all_logins():
        path = login.password.path() if login.password is not None else None
        if path is None or path in told:
            continue
        told.add(path)
        if path.exists():
            _note_short_password(login)
            continue
        try:
            write_new(path, secrets.token_urlsafe(24) + "\n", 0o600)
        except OSError as error:
            fail(f"{path}: the password file cannot be made: {error.strerror}", Exit.CANNOT)
        typer.echo(f"{path}: made, with a new password for {login.user}", err=True)


def _note_short_password(login: "Login") -> None:
    """Say that the password of a file that exists is short."""
    from domain.secret import SecretError

    assert login.password is not None  # noqa: S101 - the caller has asked
    path = login.password.path()
    try:
        length = len(login.password.reveal())
    except SecretError:
        return  # connecting says so
    if length < SHORT_PASSWORD:
        typer.echo(
            f"{path}: used as the password of {login.user}; it has only {length} characters",
            err=True,
        )


def administrator(admin: str | None, configured: str, database: str) -> str:
    """Return the conninfo of the administrator, in the database of the configuration.

    `postgres` is where administrators connect for no database in particular; any other name that
    differs is refused later.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    if not admin:
        return configured
    try:
        named = conninfo_to_dict(admin).get("dbname")
    except ProgrammingError:
        return admin  # connecting says so
    return make_conninfo(admin, dbname=database) if named == "postgres" else admin


def _refused_logins(target: "Target", identifier: str | None) -> dict[str, str]:
    """Log in once as each login; return the reason, with its cure, of each that is refused.

    One that reaches another server than the administrator's is refused too.
    """
    from postgres.session import TargetError, open_session

    refused = {}
    for login, credentials in sorted(target.logins.items()):
        try:
            with open_session(target, login, "install", read_only=True) as session:
                if identifier not in {None, session.facts.system_identifier}:
                    refused[credentials.user] = (
                        f"databases.{target.name}.dsn leads to another server than --admin"
                    )
        except TargetError as error:
            refused[credentials.user] = str(error)
    return refused


def _request(context: "Context", database: str, *, with_passwords: bool) -> "InstallRequest":
    from daemon.bootstrap import connection_target
    from daemon.config.servers import database_of
    from postgres.fencing.install import InstallRequest
    from postgres.session import MAINTAIN

    target = connection_target(context.config, database, with_passwords=with_passwords)
    if not any(login.kind == "data" for login in target.logins):
        fail(
            f"databases.{database.partition(SEPARATOR)[0]} needs logins; add for example:\n"
            '  maintain = { user = "sereno_maintain", password = { credential = "maintain" } }\n'
            '  data = { user = "sereno_data", password = { credential = "data" } }',
            Exit.CONFIG,
        )
    from domain.place import means

    config = context.config
    cleaned = [one for one in config.job("log_cleanup").tables if means(one.database, database)]
    archived = [one for one in config.job("archive").tables if means(one.database, database)]
    tables = {one.table: "jobs.log_cleanup.tables" for one in cleaned}
    for one in archived:
        tables |= dict.fromkeys((one.table, *one.children), "jobs.archive.tables")
    return InstallRequest(
        target,
        tables,
        [one.to.table for one in archived if one.to.table],
        context.store.instance(),
        context.config.daemon.name,
        database_of(target.conninfo, target.logins[MAINTAIN].user),
    )


def note(shortcoming: str) -> str:
    """Return a shortcoming as comment lines of the script."""
    return textwrap.fill(
        f"-- note: {shortcoming}",
        NOTE_WIDTH,
        subsequent_indent="--   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
