"""The class of a refused connection, and its cure.

libpq gives no code for it, so its words decide; a message in another language gets no cure.
"""

import re
from dataclasses import dataclass

from psycopg.pq import PGconn, Ping

from domain.place import SEPARATOR
from postgres.identifiers import quote_identifier


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that was refused: the configured database, its login, and the names used."""

    target: str
    login: str
    user: str
    database: str


_NO_DATABASE = r"database \".*\" does not exist"
_FULL = re.compile("too many clients already|remaining connection slots are reserved")
_IS_LOCAL = re.compile(r"on socket \"")
_CURES = (
    (
        r"Peer authentication failed",
        (
            "add to pg_hba.conf, above the line that matched: {line}; then SELECT "
            "pg_reload_conf(). Or connect by host=127.0.0.1 in databases.{entry}.dsn"
        ),
    ),
    (r"no pg_hba\.conf entry", "add to pg_hba.conf: {line}; then SELECT pg_reload_conf()"),
    (
        r"password authentication failed",
        (
            "is it that of databases.{entry}.{login}? To set it on the server: sereno install "
            "{target} --admin DSN"
        ),
    ),
    (
        r"no password supplied",
        'give databases.{entry}.{login} its password, like {{ file = "…" }}',
    ),
    (r"role \".*\" does not exist", "create it: sereno install {target} --admin DSN"),
    (_NO_DATABASE, "correct dbname in databases.{entry}.dsn"),
    (
        r"Connection refused|No such file or directory",
        "is the server running there? Else correct host and port in databases.{entry}.dsn",
    ),
    (r"could not translate host name", "correct host in databases.{entry}.dsn"),
    (
        r"timeout expired|Connection timed out|No route to host",
        "is a firewall between? Else correct host and port in databases.{entry}.dsn",
    ),
    (r"SSL|certificate", "correct sslmode and its files in databases.{entry}.dsn"),
    (
        r"too many (connections|clients)|remaining connection slots",
        "raise max_connections, or the role's CONNECTION LIMIT",
    ),
)


def connect_cure(reason: str, attempt: Attempt) -> str:
    """Return what to do about a refused connection; empty for an unknown reason."""
    for pattern, cure in _CURES:
        if re.search(pattern, reason):
            return cure.format(
                target=attempt.target,
                entry=attempt.target.partition(SEPARATOR)[0],
                login=attempt.login,
                line=_line(reason, attempt),
            )
    return ""


def lacks_database(reason: str) -> bool:
    """Return whether the server answered that it has no such database."""
    return re.search(_NO_DATABASE, reason) is not None


def _line(reason: str, attempt: Attempt) -> str:
    """Return the line of pg_hba.conf that would let the login in with a password."""
    names = f"{quote_identifier(attempt.database)} {quote_identifier(attempt.user)}"
    if _IS_LOCAL.search(reason):
        return f"local {names} scram-sha-256"
    found = re.search(r"for host \"([^\"]+)\"", reason)
    address = found[1] if found else "127.0.0.1"
    return f"host {names} {address}/{128 if ':' in address else 32} scram-sha-256"


def is_down(conninfo: str, reason: str) -> bool:
    """Return whether a server lets no session in: not there, starting, stopping, or full.

    It is asked once more, within the limit of a connection, without logging in.
    """
    if _FULL.search(reason):
        return True
    return PGconn.ping(conninfo.encode()) in {Ping.REJECT, Ping.NO_RESPONSE}
