"""The commands of `sereno migrate` that change nothing in a database of applications."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.migrate_options import (
    AsOption,
    IdArgument,
    ReasonOption,
    database_of,
    opened,
    parse_phase,
    principal_of,
)
from daemon.cli.options import ConfigOption, DatabaseOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.migrating.views import Listed


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_all)
    app.command("status")(status)
    app.command("progress")(progress)
    app.command("check")(check)
    app.command("adopt")(adopt)
    app.command("rehearse")(rehearse)


def list_all(
    database: DatabaseOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the migrations of the folder and of the ledger, by database."""
    with opened(config) as context:
        from daemon.cli.output import columns, line, prose
        from daemon.migrating.views import list_migrations, rows_of

        found = list_migrations(context, database and database_of(context, database))
        if as_json:
            print_json(rows_of(found))
            return
        rows = [(one.database, one.id, one.state.value, one.phase or "-") for one in found]
        for text, one in zip(columns(rows), found, strict=True):
            line(text)
            if one.problem:
                prose(one.problem, indent=4)
        if not found:
            line("no migration yet: sereno migrate new ID")


def status(
    migration: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this one.", show_default=False)
    ] = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of migrations, the reason, and the command that leads on.

    Exits with 1 if one failed, is tampered, or could not be rolled back.
    """
    with opened(config) as context:
        from daemon.cli.migrate_status import print_status
        from daemon.migrating.views import list_migrations, rows_of
        from migrations.state import State

        place = database and database_of(context, database)
        found = list_migrations(context, place, migration or "")
        if migration:
            _require_known(migration, found)
        wrong = {State.FAILED, State.TAMPERED, State.ROLLBACK_FAILED}
        if as_json:
            print_json(rows_of(found))
        else:
            print_status(context, found)
            if not found:
                typer.echo("no migration yet: sereno migrate new ID")
        raise typer.Exit(Exit.FOUND if any(one.state in wrong for one in found) else Exit.FINE)


def _require_known(migration: str, found: "Sequence[Listed]") -> None:
    """Exit with 2 if neither the folder nor a ledger knows a migration."""
    from migrations.state import State

    unknown = [one.problem for one in found if one.state is State.PENDING and one.problem]
    if len(unknown) == len(found):
        fail(f"{migration}: {unknown[0] if unknown else 'no database has it'}", Exit.CANNOT)


def progress(
    migration: IdArgument,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far the batches have come: rows, share, rate and time left."""
    with opened(config) as context:
        from daemon.cli.output import line
        from daemon.migrating.views import batch_progress
        from domain.units import format_seconds

        found = batch_progress(context, database_of(context, database), migration)
        if as_json:
            keys = ("file", "done", "estimate", "rate", "last", "percent", "eta_seconds")
            print_json([{key: getattr(one, key) for key in keys} for one in found])
            return
        for one in found:
            share = f"{one.percent:.0f} %" if one.percent is not None else "size unknown"
            line(f"{one.file}: {one.done:,} of about {one.estimate:,} rows, {share}")
            left = f", {format_seconds(one.eta_seconds)} left" if one.eta_seconds else ""
            line(f"{one.rate:,.0f} rows/s over the last batches{left}", indent=2)
        if not found:
            line(f"{migration} has no batches")


def check(
    migration: IdArgument,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the checks of the last complete phase again; record nothing. Exits with 1 if violated."""
    with opened(config) as context:
        from daemon.cli.output import columns, line, prose
        from daemon.migrating.requests import check_now
        from migrations.steps.check_phase import key_text

        checked = check_now(context, database_of(context, database), migration)
        results = [one for one, _ in checked]
        if as_json:
            print_json(
                [{"name": one.name, "violations": one.violations, "keys": one.value}
                 for one in results]
            )  # fmt: skip
        else:
            rows = [(one.name, f"{one.violations:,} rows") for one in results]
            for text, one in zip(columns(rows, frozenset({1})), results, strict=True):
                line(text)
                if one.value:
                    prose(f"the first: {key_text(one.value[0])}", indent=4)
        violated = any(one.violations for one, warns in checked if not warns)
        raise typer.Exit(Exit.FOUND if violated else Exit.FINE)


def adopt(
    migration: IdArgument,
    phase: Annotated[str, typer.Option("--phase", help="The last phase that is in place.")],
    reason: ReasonOption = "",
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that a migration was applied by other means; the check of the phase has to hold."""
    with opened(config) as context:
        from daemon.cli.migrate_run import run_and_exit
        from daemon.migrating.requests import Wish

        if not reason.strip():
            fail("--reason is missing: say by what means it was applied", Exit.CANNOT)
        name = database_of(context, database)
        who = principal_of(context, principal, "execute")
        wish = Wish(migration, "adopt", parse_phase(phase, "--phase"), "", who, reason)
        run_and_exit(context, name, wish, as_json=as_json)


def rehearse(
    migration: IdArgument,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="On a temporary server; its evidence opens no gate."),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0, help="How long the data phase runs beside the probes."),
    ] = 20.0,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply and roll back every phase on a copy of the schema, with probes of both applications.

    No production rows are copied. Exits with 1 if something was found.
    """
    with opened(config) as context:
        from daemon.cli.migrate_rehearsal import print_rehearsal
        from daemon.migrating.rehearse import rehearse_migration

        name = database_of(context, database)
        result = rehearse_migration(context, name, migration, seconds, embedded=embedded)
        if as_json:
            print_json(result.as_json())
        else:
            print_rehearsal(result)
        raise typer.Exit(Exit.FOUND if result.problems else Exit.FINE)
