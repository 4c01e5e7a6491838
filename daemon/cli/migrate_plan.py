"""The plan of a migration as people read it, at 80 columns."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.context import Context
    from daemon.migrating.requests import Preview
    from migrations.planning import Planning
    from migrations.steps.migration_step import MigrationStep
    from postgres.session import Rows

_RUNS_CODE = frozenset({"", "do_stmt", "call_stmt", "select_stmt"})
_WORDS = {
    "begin": "record the run",
    "record": "record the catalog",
}


def print_plan(context: "Context", database: str, shown: "Preview", *, sql: bool) -> None:
    """Print steps, locks, table sizes and the hash."""
    from daemon.cli.output import columns, line, prose, verbatim

    planning = shown.planning
    line(f"{planning.migration.id} in {database}: {planning.migration.manifest.title}")
    prose(f"state {planning.progress.state.value}; runs as {planning.ref.role}", indent=2)
    steps = [one for one in shown.steps if one.name not in _WORDS]
    rows = [(one.name, one.object, one.lock or _without_lock(one)) for one in steps]
    for text, step in zip(columns(rows), steps, strict=True):
        line(text, indent=2)
        if sql:
            verbatim(step.statement(), indent=6)
    print_tables(context, database, steps)
    prose(
        shown.rehearsal
        or "not rehearsed with this checksum: the locks are those of the statements alone. "
        f"sereno migrate rehearse {planning.migration.id} sees the true ones",
        indent=2,
    )
    print_gates(planning)
    line(f"plan {shown.hash}")
    _print_next(context, database, shown)


def _print_next(context: "Context", database: str, shown: "Preview") -> None:
    """Print the command that carries the plan out, unless gates are closed."""
    from daemon.cli.output import line, verbatim
    from daemon.migrating.requests import migrating_databases
    from migrations.gates import closed_before

    planning = shown.planning
    if closed_before(planning.gates, [one.phase for one in shown.steps if one.phase]):
        line("next: open the closed gates")
        return
    until = f" --until {planning.until.value}" if planning.until else ""
    action = "rollback" if any(one.name == "roll back" for one in shown.steps) else "apply"
    place = f" --database {database}" if len(migrating_databases(context)) > 1 else ""
    named = f"{planning.migration.id}{until}{place}"
    verbatim(f"next: sereno migrate {action} {named} --plan {shown.hash}")


def _without_lock(step: "MigrationStep") -> str:
    """Return the word for no lock; code in a DO block or function may take any."""
    file = getattr(step, "file", None)
    runs = file is not None and any(one.kind in _RUNS_CODE for one in file.statements)
    return "unknown (runs code)" if runs else "no lock"


def print_gates(planning: "Planning") -> None:
    """Print each gate of the phases to come, and its missing evidence."""
    from daemon.cli.output import line, prose

    if planning.gates:
        line("gates:", indent=2)
    for gate in planning.gates:
        line(f"{gate.state:6}  {gate.name}", indent=4)
        prose(gate.missing or gate.evidence, indent=12)


def print_tables(context: "Context", database: str, steps: "list[MigrationStep]") -> None:
    """Print size, rows and writes of the tables that will be locked."""
    from daemon.cli.output import columns, line

    rows = locked_tables(context, database, steps)
    table = [
        (row["name"], row["size"], f"{row['rows']:,} rows", f"{row['writes']:,} writes")
        for row in rows
    ]
    if table:
        line("tables (writes since the statistics were reset):", indent=2)
    for text in columns(table, frozenset({1, 2, 3})):
        line(text, indent=4)


def locked_tables(context: "Context", database: str, steps: "list[MigrationStep]") -> "Rows":
    """Return the tables that the steps lock or walk, by name."""
    from daemon.migrating.requests import catalog_session
    from migrations.table_facts import read_tables, tables_of

    with catalog_session(context, database) as session:
        return read_tables(session, tables_of(steps), session.target.migrate_path)
