"""The check `password_weak`: passwords stored as md5, or that end soon; no hash is read out."""

from collections.abc import Sequence

from psycopg import sql

from checks.check import Header, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from postgres.session import Session
from postgres.statement_file import read_statement

_ROLES = read_statement("checks", "weak_passwords", folder="statements")
_READS = sql.SQL(
    """
    SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS hashes,
           EXISTS (SELECT FROM pg_catalog.pg_proc p
                   JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname = 'sereno' AND p.proname = 'md5_passwords' AND p.pronargs = 0
                     AND has_schema_privilege(n.oid, 'USAGE')
                     AND has_function_privilege(p.oid, 'EXECUTE')) AS function
    """
)
_BY_HASHES = sql.SQL("SELECT oid FROM pg_catalog.pg_authid WHERE rolpassword LIKE 'md5%'")
_BY_FUNCTION = sql.SQL("SELECT oid FROM sereno.md5_passwords() AS oid")
_UNSEEN: Row = {
    "object": "md5",
    "value": None,
    "severity": "info",
    "why": "whether passwords are stored as md5 cannot be seen",
    "why_es": "no se ve si hay contraseñas guardadas como md5",
    "cure": "sereno install creates the function sereno.md5_passwords()",
}


def _ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a cluster check has one
    reads = session.rows(_READS)[0]
    md5: list[int] = []
    if reads["hashes"] or reads["function"]:
        listed = session.rows(_BY_HASHES if reads["hashes"] else _BY_FUNCTION)
        md5 = [row["oid"] for row in listed]
    rows = session.rows(_ROLES, {"md5": md5, "days": int(float(str(options["days"])))})
    return rows if reads["hashes"] or reads["function"] else [*rows, _UNSEEN]


CHECK = ModuleCheck(
    Header(
        name="password_weak",
        title="A password is stored weakly, or has ended",
        scope="cluster",
        options={"days": Option(7, "days before the end of a password")},
        summary="{why}",
        remedy="{cure}",
        es={
            "title": "Una contraseña está guardada con un método débil, o ha vencido",
            "summary": "{why_es}",
            "remedy": "{cure}",
        },
        source="PostgreSQL manual, 20.5 Password Authentication",
    ),
    _ask,
    lambda _options: "the method and the end of each password, from pg_authid and pg_roles",
)
