"""SQL statements kept as files beside the module that runs them."""

from importlib import resources

from psycopg import sql


def read_statement(package: str, name: str, *, folder: str = "sql") -> sql.SQL:
    """Return the statement in `<folder>/<name>.sql` of a package, as a template.

    Raises FileNotFoundError if the package has no such file.
    """
    file = resources.files(package) / folder / f"{name}.sql"
    return sql.SQL(file.read_text("utf-8"))
