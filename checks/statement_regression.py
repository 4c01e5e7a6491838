"""The check `statement_regression`: statements that have become slower, by pg_stat_statements."""

from collections.abc import Sequence

from psycopg import errors, sql

from checks.check import Header, NotSeen, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from postgres.session import Session
from postgres.statement_file import read_statement

_SCHEMA = sql.SQL(
    "SELECT n.nspname AS name FROM pg_catalog.pg_extension e "
    "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'pg_stat_statements'"
)
_LOADED = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries' "
    "AND setting LIKE '%pg\\_stat\\_statements%') AS loaded"
)
_STATEMENTS = read_statement("checks", "statement_means", folder="statements")


def _ask(session: Session | None, _options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a check of a database has a session
    schema = session.rows(_SCHEMA)
    if not schema:
        if session.rows(_LOADED)[0]["loaded"]:
            cure = "CREATE EXTENSION pg_stat_statements"
            raise NotSeen(f"pg_stat_statements is loaded, but not in this database: {cure}")
        return ()
    try:
        return session.rows(_STATEMENTS.format(schema=sql.Identifier(schema[0]["name"])))
    except errors.ObjectNotInPrerequisiteState:
        raise NotSeen("pg_stat_statements is not in shared_preload_libraries") from None
    except errors.UndefinedColumn:
        cure = "ALTER EXTENSION pg_stat_statements UPDATE"
        raise NotSeen(f"an old version of pg_stat_statements is installed; {cure}") from None


CHECK = ModuleCheck(
    Header(
        name="statement_regression",
        title="A statement has become slower",
        options={
            "warning": Option(2, "times its mean of the last four weeks"),
            "least_ms": Option(20, "and at least this many milliseconds a call"),
        },
        summary="{now} ms a call, usually {usual} ms; {share} of the time of all: {query}",
        remedy="EXPLAIN it and look for a plan that changed: ANALYZE its tables, or add an index",
        es={
            "title": "Una sentencia se ha vuelto más lenta",
            "summary": "{now} ms por llamada, antes {usual} ms; {share} del tiempo: {query}",
            "remedy": "ejecutar EXPLAIN y buscar un plan que cambió: ANALYZE de sus tablas, o "
            "crear un índice",
        },
        source="pg_stat_statements; at least 100 calls since the last run, and 1 % of the time",
        per="call",
    ),
    _ask,
    lambda _options: _STATEMENTS.format(schema=sql.Identifier("public")).as_string(None),
)
