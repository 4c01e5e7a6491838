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
    file = resources.files(package) / folder / f"{name}.sql"
    return sql.SQL(_COMMENT_LINES.sub("", file.read_text("utf-8")))
