"""The advice about a migration: our own rules, and those of squawk where it is installed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon.context import Context
from daemon.migrating.gate_facts import migration_folder
from migrations.format import GATED, Kind, Migration, SqlFile
from migrations.lint import Advice, advise
from migrations.read_folder import read_migration, with_values

PATIENCE_SECONDS = 60.0
_NEVER = (
    *("require-lock-timeout", "require-statement-timeout", "prefer-text-field"),
    "prefer-robust-stmts",
)
"""sereno sets the timeouts, and repeats no statement that is done; a text's length is taste."""
_OF_PHASE = (
    *("renaming-column", "renaming-table", "ban-drop-column", "ban-drop-table"),
    "ban-drop-constraint",
    *("adding-not-nullable-field", "ban-drop-not-null"),
)
"""In cleanup and purge these are the purpose of the file."""
_LITERALS = {"lo": "'1'", "hi": "'2'"}
_FILES = frozenset({Kind.TRANSACTION, Kind.NOTX, Kind.BATCH, Kind.ROLLBACK, Kind.ROLLBACK_NOTX})


class LintError(Exception):
    """squawk could not be run; the message says why."""


def lint_migration(context: Context, migration: str) -> tuple[list[Advice], bool]:
    """Return the advice, and whether squawk was asked. Raises FormatError, LintError."""
    read = read_migration(migration_folder(context), migration)
    squawk = find_squawk()
    found = advise(read)
    if squawk is not None:
        found += [one for file in _checked(read) for one in _ask(squawk, file)]
    return sorted(set(found)), squawk is not None


def find_squawk() -> Path | None:
    """Return the program, from this environment or PATH; None if it is not installed."""
    beside = Path(sys.executable).with_name("squawk")
    if beside.exists():
        return beside
    found = shutil.which("squawk")
    return Path(found) if found else None


def _checked(migration: Migration) -> Iterator[SqlFile]:
    yield from (one for one in migration.files.values() if one.kind in _FILES)


def _ask(squawk: Path, file: SqlFile) -> Iterator[Advice]:
    text = with_values(file.text, _LITERALS) if file.kind is Kind.BATCH else file.text
    in_transaction = file.kind in {Kind.TRANSACTION, Kind.ROLLBACK, Kind.BATCH}
    excluded = [*_NEVER]
    if file.phase in GATED or file.kind in {Kind.ROLLBACK, Kind.ROLLBACK_NOTX}:
        excluded += _OF_PHASE
    command = [str(squawk), "--reporter", "json", "--stdin-filepath", file.name]
    command += [f"--exclude={','.join(excluded)}"]
    command += ["--assume-in-transaction"] if in_transaction else []
    for one in _answer(command, text):
        yield Advice(file.name, int(one["line"]) + 1, str(one["rule_name"]), _sentence(one))


def _answer(command: list[str], text: str) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(  # noqa: S603 - a program of this environment, without a shell
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise LintError(f"{command[0]} gives no answer: {error}") from None
    return found


def _sentence(one: dict[str, Any]) -> str:
    parts = [str(one["message"]), str(one.get("help") or "")]
    return " ".join(part for part in parts if part)
