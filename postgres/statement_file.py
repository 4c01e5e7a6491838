"""SQL statements kept as files beside the module that runs them."""

import re
from importlib import resources

from psycopg import sql

_COMMENT_LINES = re.compile(r"^ *--.*\n", re.MULTILINE)


def read_statement(package: str, name: str, *, folder: str = "sql") -> sql.SQL:
    """Return the statement in `<folder>/<name>.sql` of a package, as a template.

    Comment lines are left out: pg_stat_activity shows the beginning of a statement only.
    Raises FileNotFoundError if the package has no such file.
    """
    return sql.SQL(_text(package, name, folder))


def read_script(package: str, name: str, *, folder: str = "sql") -> list[sql.SQL]:
    """Return the statements of a file, each of which ends with a semicolon at a line's end."""
    parts = _text(package, name, folder).split(";\n")
    return [sql.SQL(part.strip()) for part in parts if part.strip()]


def _text(package: str, name: str, folder: str) -> str:
    file = resources.files(package) / folder / f"{name}.sql"
    return _COMMENT_LINES.sub("", file.read_text("utf-8"))
