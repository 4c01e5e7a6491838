"""Reads migrations from their folder, by descriptors that follow no symbolic link."""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from domain.psql_variables import tokens
from migrations.format import (
    FORMAT,
    ID,
    PHASES,
    TOML,
    Annotation,
    Kind,
    Manifest,
    Migration,
    Query,
    SqlFile,
    annotations,
    digest,
    parse_file_name,
    queries,
)
from migrations.statements import Parsed, Statement, SyntaxProblem, parse

LARGEST_FILE = 1024 * 1024
MOST_STATEMENTS = 10_000
MOST_FILES = 200
MOST_MIGRATIONS = 10_000
MOST_SHOWN = 20

EVIDENCE = re.compile(r"evidence\.[a-z0-9_-]{1,63}\.json")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_META = re.compile(r"^[ \t]*\\\S+", re.MULTILINE)
_BATCH_VARIABLES = {"lo": "$1", "hi": "$2"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its place and its cure."""

    file: str
    line: int
    sentence: str

    def __str__(self) -> str:
        """Return `file:line: sentence`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.sentence}"


class FormatError(Exception):
    """A migration cannot be used; the message has a line per mistake."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda one: (one.file, one.line))
        shown = [f"  {one}" for one in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            shown.append(f"  and {len(self.problems) - MOST_SHOWN} more")
        super().__init__("\n".join([f"{name} cannot be used:", *shown]))


def list_ids(folder: Path) -> list[str]:
    """Return the ids in the folder of migrations, in order. Raises FormatError."""
    try:
        names = sorted(one.name for one in os.scandir(folder) if one.is_dir(follow_symlinks=False))
    except OSError as error:
        raise FormatError(str(folder), [Problem(str(folder), 0, error.strerror or "")]) from None
    return [name for name in names if ID.fullmatch(name)][:MOST_MIGRATIONS]


def read_migration(folder: Path, migration: str) -> Migration:
    """Read `<folder>/<id>`. Raises FormatError with every mistake, GrammarError."""
    if not ID.fullmatch(migration):
        cure = "an id is four digits, an underscore and up to 60 of a-z, 0-9 and _"
        raise FormatError(migration, [Problem(migration, 0, f"not an id: {cure}")])
    return build_migration(migration, _texts(folder, migration))


def build_migration(migration: str, raw: Mapping[str, bytes]) -> Migration:
    """Build a migration from the bytes of its files. Raises FormatError, GrammarError."""
    problems: list[Problem] = []
    texts = {name: _decoded(name, value, problems) for name, value in raw.items()}
    toml = texts.pop(TOML, None)
    manifest = _manifest(toml, problems)
    for name, text in texts.items():
        problems += _textual(name, text)
    if problems or manifest is None or toml is None:
        raise FormatError(migration, problems)
    files = _files(texts, manifest, problems)
    built = Migration(migration, manifest, files, toml)
    if not problems:  # a file that cannot be read would count as missing
        problems += _whole(built)
    if problems:
        raise FormatError(migration, problems)
    return built


def _texts(folder: Path, migration: str) -> dict[str, bytes]:
    try:
        with _directory(folder / migration) as directory:
            names = sorted(os.listdir(directory))  # noqa: PTH208 - by descriptor
            if len(names) > MOST_FILES:
                raise FormatError(
                    migration, [Problem(migration, 0, f"more than {MOST_FILES} files: split it")]
                )
            found = {name: _content(directory, name) for name in names if not _is_beside(name)}
    except FileNotFoundError:
        near = difflib.get_close_matches(migration, list_ids(folder), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        sentence = f"there is no such folder in {folder}{hint}"
        raise FormatError(migration, [Problem(migration, 0, sentence)]) from None
    except OSError as error:
        where = str(error.filename or folder / migration)
        sentence = f"{error.strerror} (symbolic links are not followed)"
        raise FormatError(migration, [Problem(where, 0, sentence)]) from None
    return found


def _is_beside(name: str) -> bool:
    """Return whether a file belongs to people or to the ladder, not to the migration."""
    return name == "README.md" or EVIDENCE.fullmatch(name) is not None


def read_evidence(folder: Path, migration: str, rung: str) -> bytes | None:
    """Return the evidence of an environment that lies beside the files; None if there is none.

    Raises FormatError.
    """
    name = f"evidence.{rung}.json"
    try:
        with _directory(folder / migration) as directory:
            return _content(directory, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(migration, [Problem(name, 0, error.strerror or "")]) from None


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _content(directory: int, name: str) -> bytes:
    """Return the bytes of a regular file, one more than allowed at the most."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "is not a regular file", name)
        return file.read(LARGEST_FILE + 1)


def _decoded(name: str, raw: bytes, problems: list[Problem]) -> str:
    if len(raw) > LARGEST_FILE:
        problems.append(Problem(name, 0, "larger than 1 MiB; split it into numbered files"))
        return ""
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        problems.append(Problem(name, line, "is not UTF-8; convert it"))
        return ""


def _manifest(text: str | None, problems: list[Problem]) -> Manifest | None:
    if text is None:
        problems.append(Problem(TOML, 0, 'is missing; the least is: title = "…"'))
        return None
    try:
        values = tomllib.loads(text)
        if values.get("format", FORMAT) != FORMAT:
            known = f"format {values['format']!r} is unknown to this sereno, which knows {FORMAT}"
            problems.append(Problem(TOML, 0, f"{known}; use a newer sereno"))
            return None
        return Manifest.model_validate(values)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(TOML, 0, str(error)))
    except ValidationError as error:
        for one in error.errors():
            path = ".".join(map(str, one["loc"]))
            problems.append(Problem(TOML, 0, f"{path}: {one['msg'].removeprefix('Value error, ')}"))
    return None


def _textual(name: str, text: str) -> Iterator[Problem]:
    """Yield mistakes that the grammar does not see, or too late."""
    if parse_file_name(name) is None:
        yield Problem(
            name, 0, "the format knows no such name; like prepare.sql, data.10_users.batch.sql, "
            "data.check.sql or prepare.rollback.sql"
        )  # fmt: skip
        return
    if match := _CONTROL.search(text):
        code = f"U+{ord(match[0]):04X}"
        yield Problem(name, _line(text, match.start()), f"the control character {code}; remove it")
    if match := _META.search(text):
        sentence = f"{match[0].strip()} is a command of psql; write SQL only"
        yield Problem(name, _line(text, match.start()), sentence)
    allowed = _BATCH_VARIABLES if name.endswith(".batch.sql") else {}
    position = 0
    for token in tokens(text):
        if token.kind == "text":
            position += len(token.text)
        elif token.kind != "value" or token.text not in allowed:
            sentence = f"the variable {token.text} of psql; only :lo and :hi of a batch exist"
            yield Problem(name, _line(text, position), sentence)
            return


def _line(text: str, position: int) -> int:
    return 1 + text.count("\n", 0, position)


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its variables :lo and :hi replaced."""
    return "".join(one.text if one.kind == "text" else values[one.text] for one in tokens(text))


def _files(
    texts: Mapping[str, str], manifest: Manifest, problems: list[Problem]
) -> dict[str, SqlFile]:
    plain = {
        name: with_values(text, _BATCH_VARIABLES) if name.endswith(".batch.sql") else text
        for name, text in texts.items()
    }
    files: dict[str, SqlFile] = {}
    for name, parsed in parse(plain).items():
        if isinstance(parsed, SyntaxProblem):
            problems.append(Problem(name, parsed.line, parsed.message))
        else:
            file = _file(name, texts[name], parsed, problems)
            walk = manifest.steps.get(name)
            if walk is not None:  # another table is another walk
                file = replace(file, checksum=digest(f"{file.checksum} {walk.table} {walk.key}"))
            files[name] = file
    return files


def _file(name: str, text: str, parsed: Parsed, problems: list[Problem]) -> SqlFile:
    known = parse_file_name(name)
    if known is None:
        raise TypeError(f"{name}: refused before")
    if len(parsed.statements) > MOST_STATEMENTS:
        problems.append(Problem(name, 0, f"more than {MOST_STATEMENTS} statements; split it"))
    for statement in parsed.statements:
        problems += [
            Problem(name, statement.line, sentence)
            for sentence in _statement_problems(known.kind, statement)
        ]
    marks: tuple[Annotation, ...] = ()
    named: list[Query] = []
    if known.kind in {Kind.CHECK, Kind.PROBE_OLD, Kind.PROBE_NEW}:
        marks = tuple(annotations(text))
        named, wrong = queries(marks, parsed.statements)
        problems += [Problem(name, line, sentence) for line, sentence in wrong]
    spelled = "".join(f"\n{one.kind} {one.name} {one.more}" for one in marks)
    checksum = digest(parsed.tokens + spelled)
    return SqlFile(name, known.kind, known.phase, text, parsed.statements, tuple(named), checksum)


def _statement_problems(kind: Kind, statement: Statement) -> Iterator[str]:
    if statement.refused:
        yield f"{_first_words(statement.text)}: {statement.refused}"
    if statement.outside and kind not in {Kind.NOTX, Kind.ROLLBACK_NOTX}:
        yield (
            f"{_first_words(statement.text)}: cannot run in a transaction; move it to a file "
            "named .notx.sql"
        )
    if statement.outside == "create" and not statement.names[0][1]:
        yield "CREATE INDEX CONCURRENTLY without a name: after a crash it could not be told"
    if kind is Kind.ROLLBACK_NOTX and statement.drops:
        yield "DROP TABLE: drop tables in a rollback in one transaction, where rows can be archived"
    if kind is Kind.CHECK and statement.kind not in {"select_stmt", "explain_stmt", ""}:
        yield "a check is a SELECT that returns the violating rows"


def _first_words(text: str) -> str:
    return " ".join(text.split()[:3])


def _whole(migration: Migration) -> Iterator[Problem]:
    """Yield missing files, and those without a place."""
    if not migration.phases():
        yield Problem(migration.id, 0, "there is no file to run, like prepare.sql")
    for one in migration.manifest.requires:
        if not ID.fullmatch(one) or one == migration.id:
            yield Problem(TOML, 0, f"requires: {one!r} is not the id of another migration")
    yield from _beside(migration)
    yield from _batches(migration)
    yield from _empty(migration)
    yield from _emptied(migration)


def _empty(migration: Migration) -> Iterator[Problem]:
    """Yield files to run that have no statement."""
    for phase in migration.phases():
        for file in migration.work(phase):
            if not file.statements:
                yield Problem(file.name, 0, "has no statement")


def _emptied(migration: Migration) -> Iterator[Problem]:
    """Yield rollbacks that empty a table before its rows are archived."""
    archived = {(one.schema, one.name) for one in migration.archived()}
    for file in migration.files.values():
        if file.kind not in {Kind.ROLLBACK, Kind.ROLLBACK_NOTX}:
            continue
        for one in file.statements:
            if one.kind == "truncate_stmt" and any(
                (lock.schema or "public", lock.table) in archived for lock in one.locks
            ):
                sentence = "empties a table of archive: its rows are kept only where it is dropped"
                yield Problem(file.name, one.line, sentence)


def _beside(migration: Migration) -> Iterator[Problem]:
    """Yield phases without a check or a rollback, and checks and rollbacks without a phase."""
    phases, files = migration.phases(), migration.files.values()
    for phase in phases:
        if migration.check(phase) is None:
            yield Problem(f"{phase.value}.check.sql", 0, f"is missing: {phase.value} needs a check")
        undone = migration.rollback(phase) is not None
        if undone == (phase in migration.manifest.irreversible):
            wanted = f"{phase.value} needs either a rollback, or to be listed in irreversible"
            yield Problem(f"{phase.value}.rollback.sql", 0, wanted)
    for phase in PHASES:
        if phase not in phases and any(one.phase is phase for one in files):
            yield Problem(f"{phase.value}.sql", 0, f"is missing, but {phase.value} has other files")


def _batches(migration: Migration) -> Iterator[Problem]:
    files, steps = migration.files, migration.manifest.steps
    batches = {name for name, one in files.items() if one.kind is Kind.BATCH}
    for name in sorted(batches ^ set(steps)):
        wrong = (
            "is missing: its table and key" if name in batches else "there is no such batch file"
        )
        yield Problem(TOML, 0, f'[steps."{name}"] {wrong}')
    for name in sorted(batches):
        used = {one.text for one in tokens(files[name].text) if one.kind != "text"}
        if used != set(_BATCH_VARIABLES):
            yield Problem(name, 0, "has to use both :lo and :hi, the first and last key of a batch")
