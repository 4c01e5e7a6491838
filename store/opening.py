"""Opens the state at its place: a file, or a PostgreSQL database."""

from pathlib import Path

from store.store import Store

STATE_URLS = ("postgresql://", "postgres://")
"""How the place of a state in a database begins."""


def open_store(place: Path | str, folder: Path | None = None, *, create: bool = True) -> Store:
    """Open the state, or create it; upgrade an older schema.

    `folder` is where a state in a database has its local files, which it needs; only such a one
    can be left uncreated here. Raises StoreError with the state unchanged: damaged, newer, not
    sereno's, or not reachable.
    """
    if isinstance(place, str):
        from store.state_database import open_database  # psycopg_pool, which no file needs

        if folder is None:
            raise TypeError("a state in a database needs a folder")
        return open_database(place, folder, create=create)
    from store.state_file import open_file

    return open_file(place)
