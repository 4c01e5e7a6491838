"""Sessions of the database of the state, and its schema."""

import os
import socket
import uuid
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from store.store import Row, StoreError, schema_files, schema_version

SCHEMA = "sereno_state"
QUEUE_SCHEMA = "sereno_queue"
"""Of the tables by which a fleet hands out work; it may be dropped while no worker runs."""
WRITING, OWNING = 1, 2
"""The second keys of the advisory locks; the first is that of the schema's name."""
OLDEST = 140000
SETTINGS = {
    "connect_timeout": "5",
    "client_encoding": "UTF8",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}
OPTIONS = (
    f"-c search_path={SCHEMA},{QUEUE_SCHEMA},pg_catalog -c lock_timeout=120s "
    "-c statement_timeout=120s -c idle_in_transaction_session_timeout=15s "
    "-c client_min_messages=warning "
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=15000"
)
"""The server too notices a host that is gone, whose session holds the lock of the service.

A frozen process keeps others from writing for 15 s at most."""

LOCK = "SELECT pg_advisory_xact_lock(hashtext('sereno_state'), %s)"
VERSION = "SELECT version FROM schema_version"
UNFINISHED = "SELECT 1 FROM sereno_state.instance WHERE name = 'copied from'"
_THERE = "SELECT to_regclass('sereno_state.schema_version') IS NOT NULL AS there"


def keywords() -> dict[str, Any]:
    """Return the keywords by which every session is opened."""
    return {
        **SETTINGS,
        "options": OPTIONS,
        "application_name": f"sereno on {socket.gethostname()}, process {os.getpid()}",
        "row_factory": dict_row,
        "autocommit": True,
    }


def connect(url: str) -> psycopg.Connection[Row]:
    """Open a session outside of the pool. Raises psycopg.Error."""
    return psycopg.Connection.connect(url, **keywords())


def display_name(url: str) -> str:
    """Return the place of a state without user and password. Raises StoreError."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # which would quote a part, perhaps a password
        raise StoreError("daemon.state: it is not a URL that libpq can read") from None
    host, port = parts.get("host") or "", parts.get("port")
    address = f"{host}:{port}" if port else host
    return f"postgresql://{address}/{parts.get('dbname') or ''}"


def configure(session: psycopg.Connection[Any]) -> None:
    """Read sums of integers as integers, as SQLite gives them."""
    session.adapters.register_loader("numeric", _Number)


class _Number(psycopg.adapt.Loader):
    """Loads `numeric` as int, or as float if it has a fraction."""

    def load(self, data: Any) -> int | float:  # noqa: ANN401 - a buffer
        """Return the number."""
        text = bytes(data).decode()
        return float(text) if "." in text or "N" in text else int(text)


def upgrade(session: psycopg.Connection[Any], name: str, *, create: bool) -> None:
    """Make or upgrade the schema in one transaction; one of this version is left alone.

    The session is one of `connect`, which finds the tables in the schema.
    """
    known = schema_version()
    with session.transaction():
        session.execute(LOCK, (WRITING,))
        version = 0
        if session.execute(_THERE).fetchall()[0]["there"]:
            version = session.execute(VERSION).fetchall()[0]["version"]
        if version > known:
            newer = f"written by a newer sereno (schema {version}, this one supports {known})"
            raise StoreError(f"{name}: {newer}; nothing was changed")
        if version == known:
            return
        if not version and not create:
            cure = "sereno install, now and run create it"
            raise StoreError(f"{name}: there is no state yet; {cure}")
        if not version:
            session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        for number, script in schema_files("postgresql").items():
            if number > version:
                session.execute(script)
        session.execute("UPDATE schema_version SET version = %s", (known,))
        session.execute(
            "INSERT INTO instance (name, value) VALUES ('id', %s) ON CONFLICT DO NOTHING",
            (uuid.uuid4().hex,),
        )


def reason(error: Exception) -> str:
    """Return the first line of an error; libpq never includes the password."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
