"""Rules of our own about a migration, which see its phases. Pure.

The rules about single statements are those of squawk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from migrations.format import GATED, PHASES, Kind, Migration, Phase, SqlFile
from migrations.statement_effects import REMOVES, RENAMES, RETYPES, ROWS
from migrations.statement_locks import ACCESS_EXCLUSIVE
from migrations.statements import Statement


@dataclass(frozen=True, slots=True, order=True)
class Advice:
    """One finding: its place, rule, and cure."""

    file: str
    line: int
    rule: str
    sentence: str


def advise(migration: Migration) -> list[Advice]:
    """Return all that is doubtful, by file and line."""
    found: list[Advice] = []
    for phase in migration.phases():
        for file in migration.work(phase):
            found += _of_file(file, phase)
    return sorted([*found, *_of_whole(migration)])


def _of_file(file: SqlFile, phase: Phase) -> Iterator[Advice]:
    held = ""
    for one in file.statements:
        yield from _of_statement(file, phase, one)
        if file.kind is not Kind.TRANSACTION:
            continue
        if held and _takes_long(one):
            yield Advice(
                file.name,
                one.line,
                "work-under-lock",
                f"{held} is locked exclusively while this runs: move it into a file of its own",
            )
        if one.mode == ACCESS_EXCLUSIVE and one.locks:
            held = next(lock.table for lock in one.locks if lock.mode == ACCESS_EXCLUSIVE)


def _of_statement(file: SqlFile, phase: Phase, one: Statement) -> Iterator[Advice]:
    early = phase not in GATED
    if not one.kind:
        sentence = "the parser cannot read it: it counts as ACCESS EXCLUSIVE on unknown tables"
        yield Advice(file.name, one.line, "unknown-statement", sentence)
    if one.effect in {REMOVES, RENAMES} and early:
        yield Advice(
            file.name,
            one.line,
            "breaks-old-application",
            f"it {one.effect} before cleanup, while the old application still runs",
        )
    if one.effect == RETYPES:
        yield Advice(
            file.name,
            one.line,
            "rewrites-table",
            "another type rewrites the table under ACCESS EXCLUSIVE: add a column and fill it",
        )
    if one.effect == REMOVES and phase is Phase.CLEANUP:
        yield Advice(
            file.name,
            one.line,
            "not-reversible",
            "a rollback cannot bring it back: rename here, remove in purge",
        )
    if one.effect == ROWS and file.kind is not Kind.BATCH:
        yield Advice(
            file.name,
            one.line,
            "unbatched-rows",
            "it changes all rows in one statement: make it a .batch.sql file with :lo and :hi",
        )


def _takes_long(one: Statement) -> bool:
    return one.effect in {ROWS, RETYPES} or one.kind == "index_stmt"


def _of_whole(migration: Migration) -> Iterator[Advice]:
    phases = migration.phases()
    if any(one in GATED for one in phases) and "probe.old.sql" not in migration.files:
        yield Advice(
            "migration.toml",
            0,
            "no-probes",
            "no probe.old.sql and probe.new.sql: nothing proves that the applications go on",
        )
    for phase in PHASES:
        check = migration.check(phase)
        if phase in phases and check is not None and not _looks(check):
            yield Advice(check.name, 0, "empty-check", "its queries read no table")


def _looks(check: SqlFile) -> bool:
    return any(one.locks for one in check.statements) or not check.statements
