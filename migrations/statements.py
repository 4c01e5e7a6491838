"""SQL texts as statements, read by the child process `migrations.grammar`."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from migrations.statement_locks import ACCESS_EXCLUSIVE, STRENGTH

PATIENCE_SECONDS = 120.0
MOST_CRASHES = 20
"""After this many crashes of the parser, the trees of all further statements are unknown."""

Outside = Literal["", "create", "drop", "reindex", "vacuum", "detach"]


class GrammarError(Exception):
    """The child process could not be run, or did not answer."""


@dataclass(frozen=True, slots=True, order=True)
class TableLock:
    """A lock that a statement takes; the schema is empty where none is written."""

    schema: str
    table: str
    mode: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a file; `kind` is empty if the parser could not read its tree."""

    text: str
    line: int
    kind: str = ""
    locks: tuple[TableLock, ...] = ()
    outside: Outside = ""
    """What it does that cannot run in a transaction."""
    names: tuple[tuple[str, str], ...] = ()
    """The indexes that it creates or drops, or the partition that it detaches."""
    refused: str = ""
    drops: tuple[tuple[str, str], ...] = ()
    """The tables that it drops."""
    effect: str = ""
    """removes, renames, retypes or rows: what an application may feel."""

    @property
    def mode(self) -> str:
        """Return its strongest lock; the strongest of all if it is unknown."""
        if not self.kind:
            return ACCESS_EXCLUSIVE
        return max((one.mode for one in self.locks), key=STRENGTH.index, default="")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The statements of one text, and the hash of its tokens without comments and blanks."""

    statements: tuple[Statement, ...]
    tokens: str


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why a text cannot be split, and the line."""

    message: str
    line: int


def parse(texts: Mapping[str, str]) -> dict[str, Parsed | SyntaxProblem]:
    """Return the statements of each text by its name. Raises GrammarError.

    A statement whose tree crashes the parser, or is too deep for it, has no kind.
    """
    answers = list(_answers("split", list(texts.values())))
    if len(answers) != len(texts):
        raise GrammarError("the parser crashed while splitting; no text was accepted")
    found: dict[str, Parsed | SyntaxProblem] = {}
    placed: list[tuple[str, int, str]] = []
    for (name, text), answer in zip(texts.items(), answers, strict=True):
        if "error" in answer:
            found[name] = SyntaxProblem(answer["error"], 1 + text.count("\n", 0, answer["at"]))
            continue
        found[name] = Parsed((), answer["tokens"])
        placed += [(name, 1 + text.count("\n", 0, at), part) for at, part in answer["statements"]]
    trees = _trees([part for _, _, part in placed])
    statements: dict[str, list[Statement]] = {}
    for (name, line, part), tree in zip(placed, trees, strict=True):
        statements.setdefault(name, []).append(_statement(part, line, tree))
    for name, some in statements.items():
        parsed = found[name]
        if isinstance(parsed, Parsed):
            found[name] = Parsed(tuple(some), parsed.tokens)
    return found


def _statement(text: str, line: int, tree: Mapping[str, Any]) -> Statement:
    return Statement(
        text=text,
        line=line,
        kind=tree.get("kind", ""),
        locks=tuple(sorted({TableLock(*one) for one in tree.get("locks", ())})),
        outside=tree.get("outside", ""),
        names=tuple((schema, name) for schema, name in tree.get("names", ())),
        refused=tree.get("refused", ""),
        drops=tuple((schema, name) for schema, name in tree.get("drops", ())),
        effect=tree.get("effect", ""),
    )


def _trees(statements: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the description of each statement; an empty one if it crashes the parser."""
    trees: list[Mapping[str, Any]] = []
    for _ in range(MOST_CRASHES):
        trees += _answers("describe", statements[len(trees) :])
        if len(trees) == len(statements):
            return trees
        trees.append({})
    return trees + [{}] * (len(statements) - len(trees))


def _answers(task: str, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the child's answers; fewer than texts if it crashed."""
    if not texts:
        return
    # -P: import no module from the current directory
    command = [sys.executable, "-P", "-m", "migrations.grammar"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=json.dumps([task, list(texts)]),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GrammarError(f"the parser of SQL does not answer: {error}") from None
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise GrammarError(f"the parser of SQL cannot be run: {last}")
    for line in done.stdout.splitlines():
        yield json.loads(line)
