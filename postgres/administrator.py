"""Plain connections of an administrator, for commands that a person runs: install, init, rehearse.

As root on the server's machine, a role of peer authentication is reached as the operating system's
user of that name, as `su postgres -c psql` would.
"""

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from postgres.session import UnreachableError, connect_reason

Administrator = psycopg.Connection[dict[str, Any]]

_PEER = re.compile(r'Peer authentication failed for user "([^"]+)"')
CONNECT_SECONDS = "10"


def open_admin_session(conninfo: str, name: str, **overrides: str) -> Administrator:
    """Open a plain connection. Raises UnreachableError, which begins with `name`."""
    try:
        return _connect(conninfo, overrides)
    except psycopg.OperationalError as error:
        reason = connect_reason(error)
    except psycopg.ProgrammingError:
        raise UnreachableError(
            f'{name}: not a connection string (like "host=/run/postgresql dbname=coop")'
        ) from None
    user = _system_user(reason)
    if user is None:
        raise UnreachableError(f"{name}: {reason}")
    try:
        with _effective_user(user):
            return _connect(conninfo, overrides)
    except (psycopg.OperationalError, OSError):
        raise UnreachableError(f"{name}: {reason}") from None


def _connect(conninfo: str, overrides: dict[str, str]) -> Administrator:
    return psycopg.connect(
        make_conninfo(conninfo, **{"connect_timeout": CONNECT_SECONDS} | overrides),
        application_name="sereno/install",
        row_factory=dict_row,
        autocommit=True,
    )


def _system_user(reason: str) -> pwd.struct_passwd | None:
    """Return the system's user of a refused role; None unless root may become that user."""
    refused = _PEER.search(reason)
    if refused is None or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(refused[1])
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
