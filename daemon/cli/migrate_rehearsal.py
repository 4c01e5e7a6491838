"""The result of a rehearsal as people read it, at 80 columns."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrations.rehearsal.result import Rehearsal
    from migrations.statements import TableLock

MOST_PROBLEMS = 20


def print_rehearsal(result: "Rehearsal") -> None:
    """Print the verdict first, then the table of phases and probes, locks and times."""
    from daemon.cli.output import columns, line, prose

    _print_verdict(result)
    if result.round_trips:
        places = ", ".join(result.round_trips)
        prose(f"rolled back to an identical schema and data from: {places}", indent=2)
    for text in columns(list(_probe_rows(result))) if result.probes else ():
        line(text, indent=2)
    for file, locks in result.locks.items():
        line(f"locks of {file}", indent=2)
        for mode, tables in _by_mode(locks):
            prose(f"{mode}: {tables}", indent=4)
    for note in _notes(result):
        prose(note, indent=2)


def _print_verdict(result: "Rehearsal") -> None:
    from daemon.cli.output import counted, line, prose

    if not result.problems:
        line(f"{result.migration}: no problem found on PostgreSQL {result.server}")
        return
    line(f"{result.migration}: {counted(len(result.problems), 'problem')} found")
    for problem in result.problems[:MOST_PROBLEMS]:
        prose(f"- {problem}", indent=2)


def _notes(result: "Rehearsal") -> "Iterator[str]":
    """Yield how long it ran beside the applications, and what was left out."""
    from daemon.cli.output import counted

    if result.cycles:
        yield (
            f"beside the applications: {counted(result.cycles, 'cycle')}, {result.probe_runs:,} "
            f"runs of probes, the longest statement {result.longest_wait_ms:.0f} ms"
        )
    for note in result.notes:
        yield f"note: {note}"


def _by_mode(locks: "Sequence[TableLock]") -> "Iterator[tuple[str, str]]":
    """Yield each mode, the strongest first, with its tables."""
    from migrations.statement_locks import STRENGTH
    from postgres.identifiers import Relation

    for mode in reversed(STRENGTH):
        tables = [str(Relation(one.schema, one.table)) for one in locks if one.mode == mode]
        if tables:
            yield mode, ", ".join(tables)


def _probe_rows(result: "Rehearsal") -> "Iterator[tuple[str, str, str]]":
    """Yield one row per phase: which application works in it."""
    from migrations.rehearsal.result import phases_of

    if not result.probes:
        return
    yield "phase", "old application", "new application"
    for phase in phases_of(result.probes):
        yield phase, _served(result, phase, "old"), _served(result, phase, "new")


def _served(result: "Rehearsal", phase: str, application: str) -> str:
    served = result.served(phase, application)
    if served is None:
        return "-"
    if served:
        return "works"
    failed = [
        one.name
        for one in result.probes
        if one.error and (one.phase, one.application) == (phase, application)
    ]
    return f"fails: {', '.join(failed[:2])}"
