"""Plain connections of an administrator, for commands that a person runs: install, init, rehearse.

As root on the server's machine, a role of peer authentication is reached as the operating system's
user of that name, as `su postgres -c psql` would.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from postgres.session import UnreachableError, connect_reason

Administrator = psycopg.Connection[dict[str, Any]]

CONNECT_SECONDS = "10"
SETTINGS = {
    # the client's settings are stronger than those that an owner has set for the database
    "search_path": "pg_catalog,pg_temp",
    "row_security": "off",
}


def open_admin_session(conninfo: str, name: str, **overrides: str) -> Administrator:
    """Open a plain connection that looks names up in the catalog alone.

    Raises UnreachableError, which begins with `name`.
    """
    try:
        return _connect(conninfo, overrides)
    except psycopg.OperationalError as error:
        reason = connect_reason(error)
    except psycopg.ProgrammingError:
        raise UnreachableError(
            f'{name}: not a connection string (like "host=/run/postgresql dbname=coop")'
        ) from None
    user = _system_user(conninfo)
    if user is None:
        raise UnreachableError(f"{name}: {reason}")
    try:
        with _effective_user(user):
            return _connect(conninfo, overrides)
    except (psycopg.OperationalError, OSError):
        raise UnreachableError(f"{name}: {reason}") from None


def _connect(conninfo: str, overrides: dict[str, str]) -> Administrator:
    wanted = {"connect_timeout": CONNECT_SECONDS, "client_encoding": "UTF8"} | overrides
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    flags = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    return psycopg.connect(
        make_conninfo(conninfo, **wanted, options=f"{given} {flags}".strip()),
        application_name="sereno/install",
        row_factory=dict_row,
        autocommit=True,
    )


def _system_user(conninfo: str) -> pwd.struct_passwd | None:
    """Return the system's user of the connection's name; None unless root asks a local socket."""
    parts = conninfo_to_dict(conninfo)
    host = str(parts.get("host") or os.environ.get("PGHOST") or "/")
    user = str(parts.get("user") or os.environ.get("PGUSER") or "")
    if os.geteuid() != 0 or not host.startswith("/") or user in {"", "root"}:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


@contextmanager
def _effective_user(user: pwd.struct_passwd) -> Iterator[None]:
    """Be another user for the body; the server asks the kernel for the user that connects."""
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
