"""Migrations of Alembic, Prisma and Sqitch, read and written into the folder of migrations."""

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from daemon.context import Context
from daemon.migrating.gate_facts import migration_folder
from migrations.imported import Source, to_files
from migrations.read_folder import LARGEST_FILE, FormatError, list_ids, read_migration
from migrations.statements import GrammarError, Statement, SyntaxProblem, parse

MOST_MIGRATIONS = 1000
_LEDGERS = {
    "alembic": frozenset({"alembic_version"}),
    "prisma": frozenset({"_prisma_migrations"}),
    "sqitch": frozenset[str](),
}
_PLAN_LINE = re.compile(r"^(?P<name>[^\s%@#\[][^\s\[]*)(?:\s+\[(?P<requires>[^\]]*)\])?\s.*$")
_REVISION = re.compile(r"^--\s*Running (?:upgrade|downgrade)\s+(.*)$", re.MULTILINE)


class ImportFormatError(Exception):
    """The source cannot be imported; the message says why."""


def import_migrations(
    context: Context, kind: str, place: tuple[Path, Path | None, str]
) -> list[tuple[Path, Sequence[str]]]:
    """Write the migrations of a source; return each folder with its notes.

    Nothing is left of one that cannot be used. Raises ImportFormatError, TargetError.
    """
    folder = migration_folder(context)
    source, down, name = place
    readers = {"alembic": _alembic, "prisma": _prisma, "sqitch": _sqitch}
    texts = list(readers[kind](source, down, name))
    if not texts:
        raise ImportFormatError(f"{source}: no migration was found")
    first = 1 + max((int(one[:4]) for one in list_ids(folder)), default=0)
    ids = {one["name"]: f"{first + n:04}_{_plain(one['name'])}" for n, one in enumerate(texts)}
    planned: list[tuple[str, Source]] = []
    for one in texts:
        requires = tuple(ids[need] for need in one["requires"].split() if need in ids)
        planned.append((ids[one["name"]], _source(one, requires, _LEDGERS[kind])))
    made: list[tuple[Path, Sequence[str]]] = []
    with ExitStack() as undone:
        for migration, read in planned:
            undone.callback(shutil.rmtree, folder / migration, ignore_errors=True)
            made.append(_write(folder, migration, read))
        undone.pop_all()
    return made


def _source(texts: Mapping[str, str], requires: tuple[str, ...], ledgers: frozenset[str]) -> Source:
    parts = {part: texts[part] for part in ("up", "down", "verify") if texts[part].strip()}
    found = parse(parts)
    statements: dict[str, Sequence[Statement]] = {}
    for part, parsed in found.items():
        if isinstance(parsed, SyntaxProblem):
            where = f"{texts['place']}, {part}, line {parsed.line}"
            raise ImportFormatError(f"{where}: {parsed.message}")
        statements[part] = parsed.statements
    return Source(
        name=texts["name"],
        title=texts["title"],
        up=statements.get("up", ()),
        down=statements.get("down", ()),
        verify=statements.get("verify", ()),
        requires=requires,
        ledgers=ledgers,
    )


def _write(folder: Path, migration: str, source: Source) -> tuple[Path, Sequence[str]]:
    imported = to_files(source)
    made = folder / migration
    try:
        made.mkdir(mode=0o755)
        for name, text in imported.files.items():
            (made / name).write_text(text, "utf-8")
        read = read_migration(folder, migration)
    except OSError as error:
        raise ImportFormatError(f"{made}: {error.strerror}") from None
    except (FormatError, GrammarError) as error:
        raise ImportFormatError(f"{source.name} cannot be imported as it is: {error}") from None
    written = sum(len(file.statements) for one in read.phases() for file in read.work(one))
    if written != imported.statements:
        raise ImportFormatError(
            f"{source.name}: {imported.statements} statements were read and {written} written; "
            "nothing was imported"
        )
    return made, imported.notes


def _alembic(source: Path, down: Path | None, name: str) -> Iterator[dict[str, str]]:
    """Yield the one migration of the output of `alembic upgrade FROM:TO --sql`."""
    up = sys.stdin.read(LARGEST_FILE + 1) if str(source) == "-" else _read(source)
    revisions = _REVISION.findall(up)
    if not revisions:
        raise ImportFormatError(
            f"{source}: no line `-- Running upgrade …`: give the output of alembic upgrade FROM:TO "
            "--sql"
        )
    yield {
        "name": name or revisions[-1].split(" -> ")[-1].split(",")[0],
        "title": f"Alembic {revisions[0].partition(',')[0]}"
        + (f" to {revisions[-1].partition(',')[0]}" if len(revisions) > 1 else ""),
        "up": up,
        "down": _read(down) if down else "",
        "verify": "",
        "requires": "",
        "place": str(source),
    }


def _prisma(source: Path, _down: Path | None, _name: str) -> Iterator[dict[str, str]]:
    """Yield the migrations of a folder of Prisma, in its order."""
    before = ""
    for one in _folders(source):
        if not (one / "migration.sql").is_file() or not _has_text(_read(one / "migration.sql")):
            continue  # Prisma writes an empty migration where only its schema file changed
        name = one.name.partition("_")[2] or one.name
        down = one / "down.sql"
        yield {
            "name": one.name,
            "title": f"Prisma {name}",
            "up": _read(one / "migration.sql"),
            "down": _read(down) if down.is_file() else "",
            "verify": "",
            "requires": before,
            "place": str(one),
        }
        before = one.name


def _sqitch(source: Path, _down: Path | None, _name: str) -> Iterator[dict[str, str]]:
    """Yield the changes of a project of Sqitch, in the order of its plan."""
    seen: set[str] = set()
    for line in _read(source / "sqitch.plan").splitlines():
        match = _PLAN_LINE.match(line.strip())
        if match is None:
            continue
        name = match["name"]
        if not re.fullmatch(r"\w[\w./-]*", name) or ".." in name:
            raise ImportFormatError(f"sqitch.plan: {name!r} is no name of a change")
        if name in seen:
            raise ImportFormatError(
                f"sqitch.plan: {name} was reworked: import it before the rework, or by hand"
            )
        seen.add(name)
        files = {part: source / part / f"{name}.sql" for part in ("deploy", "revert", "verify")}
        yield {
            "name": name,
            "title": f"Sqitch {name}",
            "up": _read(files["deploy"]),
            "down": _read(files["revert"]) if files["revert"].is_file() else "",
            "verify": _read(files["verify"]) if files["verify"].is_file() else "",
            "requires": match["requires"] or "",
            "place": str(files["deploy"]),
        }


def _folders(source: Path) -> list[Path]:
    try:
        found = sorted(one for one in source.iterdir() if one.is_dir() and not one.is_symlink())
    except OSError as error:
        raise ImportFormatError(f"{source}: {error.strerror}") from None
    if len(found) > MOST_MIGRATIONS:
        raise ImportFormatError(f"{source}: more than {MOST_MIGRATIONS} migrations")
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise ImportFormatError(f"{path}: larger than 1 MiB")
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ImportFormatError(f"{path}: {reason}") from None


def _has_text(text: str) -> bool:
    """Return whether a script has more than comments of one line."""
    return any(line.strip() and not line.strip().startswith("--") for line in text.splitlines())


def _plain(name: str) -> str:
    """Return a name as an id may have it."""
    words = re.sub(r"^[0-9]{8,14}_", "", name).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")[:60] or "imported"
