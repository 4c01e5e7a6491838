"""The survey of `sereno init`: the server and its databases, and the address of the logins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import fail
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.setup.addresses import Reached
    from daemon.setup.logins import DatabaseLogins
    from postgres.administrator import Administrator
    from postgres.catalog.survey import Server, SurveyedDatabase

OLDEST = 140000
MOST_ERRORS = 3
_ENCRYPTION = ("sslmode", "sslrootcert", "sslcrl", "sslcrldir", "sslnegotiation", "gssencmode")


@dataclass(frozen=True, slots=True)
class Survey:
    """A server, how it was reached, and its databases, largest first."""

    server: "Server"
    reached: "Reached"
    databases: Sequence["SurveyedDatabase"]


def survey(admin: str, only: str | None) -> Survey:
    """Read the server and its databases; exit with 2 if the server cannot be read.

    A database that does not let the administrator in is told and left out, unless it is named.
    """
    import psycopg

    from daemon.cli.install_database import admin_hint
    from postgres.administrator import open_admin_session
    from postgres.catalog.survey import read_server
    from postgres.session import UnreachableError

    try:
        with open_admin_session(admin, "--admin") as connection:
            server, reached = read_server(connection), _reached(connection)
    except UnreachableError as error:
        fail(f"{error}\n  {admin_hint(str(error), admin)}", Exit.CANNOT)
    except psycopg.Error as error:
        fail(f"--admin: {error.diag.message_primary or error}; nothing was changed", Exit.CANNOT)
    _require_usable(server)
    named = {name.strip() for name in (only or "").split(",")}
    wanted = [name for name in server.databases if name in named] or server.databases
    found = [one for name in wanted if (one := _database(admin, name)) is not None]
    if not found:
        fail("--admin: no database of the server can be read; nothing was changed", Exit.CANNOT)
    return Survey(server, reached, sorted(found, key=lambda one: (-one.bytes, one.name)))


def _database(admin: str, name: str) -> "SurveyedDatabase | None":
    import psycopg

    from postgres.administrator import open_admin_session
    from postgres.catalog.survey import read_database
    from postgres.session import UnreachableError

    typer.echo(f"reading {name} …", err=True)
    try:
        with open_admin_session(admin, name, dbname=name) as connection:
            return read_database(connection)
    except (UnreachableError, psycopg.Error, UnicodeError) as error:
        lines = str(error).strip().splitlines()
        typer.echo(f"  left out: {lines[0] if lines else type(error).__name__}", err=True)
        return None


def _reached(connection: "Administrator") -> "Reached":
    """Return the host and port that libpq has used, whatever named them."""
    from daemon.setup.addresses import Reached

    info = connection.info
    used = info.get_parameters()
    options = {name: used[name] for name in _ENCRYPTION if name in used}
    is_socket = info.host.startswith("/")
    return Reached(info.host, info.port, {} if is_socket else options)


def _require_usable(server: "Server") -> None:
    if server.version < OLDEST:
        fail(f"--admin: PostgreSQL {server.version_text}; sereno needs 14 or newer", Exit.CANNOT)
    if server.standby:
        fail("--admin: the server is a standby; give its primary", Exit.CANNOT)
    if not server.superuser:
        fail(
            "--admin: init needs a superuser; nothing was changed\n"
            "  on a managed server write the configuration by hand (README), and give `sereno "
            "install` a role that may create roles",
            Exit.CANNOT,
        )


def address_of_logins(
    found: Survey, logins: "Mapping[str, DatabaseLogins]", owners: Sequence[str]
) -> tuple[str, str]:
    """Return the address of the logins, and the method of its rule; exit with 3 without one."""
    from daemon.setup.addresses import choose_address, groups, missing_line
    from postgres.catalog.hba import Logins

    server = found.server
    users = {login.user for one in logins.values() for login in one.all_logins()}
    maintain = next(iter(logins.values())).maintain.user
    joined = groups(server, maintain, owners)
    wanted = Logins(list(logins), sorted(users), joined, server.version)
    address = choose_address(server, found.reached, wanted)
    if address is None:
        wrong = [rule.error for rule in server.hba or () if rule.error][:MOST_ERRORS]
        faults = "".join(f"\n  the file has an error: {error}" for error in wrong)
        fail(
            "pg_hba.conf lets none of the logins in with a password; nothing was changed.\n"
            "  Add this line above the line that refuses them:\n"
            f"  {missing_line(server, found.reached, wanted)}\n"
            f"  then: SELECT pg_reload_conf(); and run init again{faults}",
            Exit.WINDOW,
        )
    return address[0].host, address[1]
