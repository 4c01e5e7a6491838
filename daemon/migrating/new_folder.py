"""The folder of a new migration."""

from pathlib import Path

from migrations.format import ID, TOML

_FILES = {
    "prepare.sql": "-- Add only: new tables, nullable columns, triggers. One transaction.\n",
    "prepare.check.sql": (
        "-- Each query returns the violating rows.\n-- @check nothing_is_wrong\n"
        "SELECT 1 WHERE false;\n"
    ),
    "prepare.rollback.sql": "-- Undo prepare.sql; it may be half done.\n",
}


def create_folder(folder: Path, migration: str, title: str) -> Path:
    """Create `<folder>/<id>` with the least files; return it.

    Raises ValueError for a bad id, OSError if it exists or cannot be made.
    """
    if not ID.fullmatch(migration):
        raise ValueError(
            f"{migration!r} is not an id: four digits, an underscore and up to 60 of a-z, 0-9 and _"
        )
    if not title.isprintable():
        raise ValueError("--title must not contain control characters")
    made = folder / migration
    try:
        made.mkdir(mode=0o755)
    except FileExistsError:
        raise ValueError(f"{made} exists already") from None
    except FileNotFoundError:
        raise ValueError(f"{folder} does not exist: mkdir {folder}") from None
    quoted = title.replace("\\", "\\\\").replace('"', '\\"')
    (made / TOML).write_text(f'title = "{quoted}"\ntype = "schema"\n', "utf-8")
    for name, text in _FILES.items():
        (made / name).write_text(text, "utf-8")
    return made
