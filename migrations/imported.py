"""Statements of another tool as the files of a migration. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from migrations.format import TOML, Phase
from migrations.statement_effects import REMOVES, RENAMES
from migrations.statements import Statement
from postgres.identifiers import Relation

_CONCURRENT_DROP = re.compile(
    r"^DROP\s+INDEX\s+CONCURRENTLY\s+(?:IF\s+EXISTS\s+)?", re.IGNORECASE | re.MULTILINE
)
_DROP = "DROP INDEX IF EXISTS "
"""A way back is one transaction, and a phase that is half done may have no such index yet."""


_CREATED = re.compile(
    r"\bTABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:\"?\w+\"?\s*\.\s*)?\"?(?P<table>\w+)\"?\s*\(",
    re.IGNORECASE,
)
"""The name of a table that is created; that of another tool's history is a plain one."""
_RUNS_CODE = frozenset({"", "do_stmt", "call_stmt"})


@dataclass(frozen=True, slots=True)
class Source:
    """One migration of another tool, with its texts parsed."""

    name: str
    title: str
    up: Sequence[Statement]
    down: Sequence[Statement] = ()
    verify: Sequence[Statement] = ()
    requires: tuple[str, ...] = ()
    ledgers: frozenset[str] = field(default_factory=frozenset)
    """The tables in which the other tool keeps its own history."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The files of a migration, and notes for people."""

    files: Mapping[str, str]
    notes: Sequence[str]
    statements: int
    """The number of statements that its files to run have."""


def to_files(source: Source) -> Imported:
    """Return the files of an imported migration.

    All statements keep their order, in one phase: cleanup if any of them removes or renames
    something, else prepare.
    """
    up = list(_own(source.up, source.ledgers))
    felt = [one for one in up if one.effect in {REMOVES, RENAMES}]
    phase = Phase.CLEANUP if felt else Phase.PREPARE
    down = list(_own(source.down, source.ledgers))
    files = dict(_work(phase, up))
    files |= _way_back(phase, down)
    files[f"{phase.value}.check.sql"], notes = _check(source.verify)
    files[TOML] = _manifest(source, phase, down)
    if felt:
        notes.append(f"line {felt[0].line} {felt[0].effect} something: it waits for a person")
    if not down:
        notes.append("no way back was found: it is marked as irreversible")
    notes += _doubts(up, [name for name in files if name.startswith(phase.value)])
    return Imported(files, notes, len(up))


def _manifest(source: Source, phase: Phase, down: Sequence[Statement]) -> str:
    requires = ", ".join(f'"{one}"' for one in source.requires)
    kept = ", ".join(_literal(str(one)) for one in _dropped(down))
    lines = [
        f'title = "{_quoted(source.title)}"',
        f"requires = [{requires}]" if requires else "",
        "" if down else f'irreversible = ["{phase.value}"]',
        f"archive = [{kept}]" if kept else "",
    ]
    return "".join(f"{one}\n" for one in lines if one)


def _doubts(up: Sequence[Statement], files: Sequence[str]) -> Iterator[str]:
    """Yield what a person has to look at."""
    for one in up:
        if one.kind in _RUNS_CODE:
            yield f"line {one.line} runs code: nothing tells whether it removes or renames"
    work = [name for name in files if ".check." not in name and ".rollback" not in name]
    if len(work) > 1 and any(one.kind == "variable_set_stmt" for one in up):
        yield "SET LOCAL holds for its own file only: repeat it in each"


def _own(statements: Iterable[Statement], ledgers: frozenset[str]) -> Iterator[Statement]:
    """Yield the statements without the transactions and the history of the other tool."""
    for one in statements:
        touched = {lock.table for lock in one.locks} | {name for _, name in one.drops}
        if one.kind != "transaction_stmt" and not (touched & ledgers or _makes(one, ledgers)):
            yield one


def _makes(one: Statement, ledgers: frozenset[str]) -> bool:
    match = _CREATED.search(one.text) if one.kind == "create_stmt" else None
    return match is not None and match["table"] in ledgers


def _work(phase: Phase, statements: Sequence[Statement]) -> Iterator[tuple[str, str]]:
    """Yield the files of the phase: a new one where the mode changes."""
    runs = [
        (alone, list(some)) for alone, some in groupby(statements, lambda one: bool(one.outside))
    ]
    for number, (alone, some) in enumerate(runs, 1):
        order = f".{number * 10:02}" if len(runs) > 1 else ""
        yield f"{phase.value}{order}{'.notx' if alone else ''}.sql", _text(some)


def _way_back(phase: Phase, statements: Sequence[Statement]) -> dict[str, str]:
    if not statements:
        return {}
    if all(one.outside in {"", "drop"} for one in statements):
        return {f"{phase.value}.rollback.sql": _CONCURRENT_DROP.sub(_DROP, _text(statements))}
    return {f"{phase.value}.rollback.notx.sql": _text(statements)}


def _text(statements: Sequence[Statement]) -> str:
    return "".join(f"{_ended(one.text)}\n" for one in statements)


def _ended(text: str) -> str:
    """Return a statement with its semicolon, which must not stand behind a comment."""
    bare = text.strip().rstrip(";").rstrip()
    last = bare.rpartition("\n")[2]
    return f"{bare}\n;" if "--" in last else f"{bare};"


def _check(verify: Sequence[Statement]) -> tuple[str, list[str]]:
    """Return the check, made of the verifying queries: they have to run without an error."""
    queries = [one for one in verify if one.kind == "select_stmt"]
    left = [one for one in verify if one.kind not in {"select_stmt", "transaction_stmt"}]
    notes = [f"line {one.line} of the verification is no SELECT and was left out" for one in left]
    if not queries:
        notes.append("no check was found: replace the empty one by a query of violating rows")
        return "-- @check nothing_is_wrong\nSELECT 1 WHERE false;\n", notes
    parts = [
        f"-- @check verify_{number}\nSELECT 1 FROM (\n{_ended(one.text)[:-1]}\n) verified "
        "WHERE verified::text IS NULL;\n"
        for number, one in enumerate(queries, 1)
    ]
    return "-- Each query of the other tool has to run without an error.\n" + "\n".join(
        parts
    ), notes


def _dropped(statements: Sequence[Statement]) -> list[Relation]:
    """Return the tables that a way back drops; its rows are to be kept."""
    return [
        Relation(schema or "public", table) for one in statements for schema, table in one.drops
    ]


def _literal(text: str) -> str:
    return f"'{text}'" if "'" not in text else f'"{_quoted(text)}"'


def _quoted(title: str) -> str:
    return title.replace("\\", "\\\\").replace('"', '\\"')
