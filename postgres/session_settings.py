"""The settings of every session.

Keepalives on both ends and `client_connection_check_interval` end a dead client's statement and
locks within seconds. `lock_timeout` is below `deadlock_timeout`, so autovacuum is never cancelled
because of us. `search_path` contains no schema that others may write to. `row_security = off` turns
rows hidden by a policy into an error.
"""

from collections.abc import Mapping

LOCK_TIMEOUT_MILLISECONDS = 300
IDLE_TIMEOUT_MILLISECONDS = 60_000
STATEMENT_MILLISECONDS = 60_000
CONNECT_SECONDS = 5

CLIENT = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 4000,
    "client_encoding": "UTF8",
}
SERVER: Mapping[str, str | int] = {
    "search_path": "pg_catalog,pg_temp",
    "lock_timeout": LOCK_TIMEOUT_MILLISECONDS,
    "statement_timeout": STATEMENT_MILLISECONDS,
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MILLISECONDS,
    "idle_session_timeout": 0,
    "client_connection_check_interval": 2000,
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # TCP keepalives do not cover unacknowledged data
    "row_security": "off",
    "DateStyle": "ISO,YMD",  # ages are sent as text
    "IntervalStyle": "postgres",
    "extra_float_digits": 1,  # and what is archived as text has to be read back as the same value
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",  # the catalog's queries are cheaper than estimated: compiling them takes seconds
}
