"""The commands of `sereno migrate` about a running migration: batch size, maintenance mode."""

from typing import Annotated, Any

import typer

from daemon.cli.migrate_options import AsOption, IdArgument, database_of, opened, principal_of
from daemon.cli.options import ConfigOption, DatabaseOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("batch")(batch)
    app.command("maintenance")(maintenance)


def batch(
    migration: IdArgument,
    rows: Annotated[
        int, typer.Option("--rows", min=0, max=1_000_000, help="The most; 0 removes the limit.")
    ],
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Limit the rows of a batch, from the next batch on; the target duration tunes it below."""
    with opened(config) as context:
        from daemon.history import migrating
        from daemon.migrating.views import require_known

        place = (database_of(context, database), migration)
        who = principal_of(context, principal, "operate")
        require_known(context, *place)
        with context.store.transaction() as transaction:
            migrating.limit_batches(transaction, place, rows, who, context.clock())
        if as_json:
            print_json({"database": place[0], "migration": migration, "rows": rows or None})
            return
        limit = f"at most {rows:,} rows a batch" if rows else "no limit but the target duration"
        typer.echo(f"{migration} in {place[0]}: {limit}")


def maintenance(
    mode: Annotated[str, typer.Argument(metavar="[on|off]", help="Without it, show.")] = "",
    lasts: Annotated[str, typer.Option("--for", help='Like "30m"; it ends by itself.')] = "",
    reason: Annotated[str, typer.Option("--reason", help="Shown to applications.")] = "",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch the row of sereno.maintenance that applications read; without on or off, show it."""
    if mode not in {"", "on", "off"}:
        fail(f"{mode!r}: say on, off, or nothing", Exit.CANNOT)
    if mode == "on" and not (lasts and reason.strip() and reason.isprintable()):
        fail("maintenance on needs --for, like 30m, and --reason, in one line", Exit.CANNOT)
    with opened(config) as context:
        from daemon.migrating.maintenance import read_maintenance, set_maintenance
        from domain.units import parse_duration

        name = database_of(context, database)
        try:
            span = parse_duration(lasts) if mode == "on" else None
            found = (
                set_maintenance(context, name, span, reason.strip())
                if mode
                else read_maintenance(context, name)
            )
        except ValueError as error:
            fail(f"--for: {error}", Exit.CANNOT)
        if as_json:
            print_json({"database": name, "maintenance": found})
        else:
            typer.echo(_sentence(name, found, context.config.daemon.timezone))


def _sentence(database: str, found: Any, zone: str) -> str:  # noqa: ANN401 - a row, or none
    from daemon.cli.output import local_minute

    if found is None:
        return f"{database}: no maintenance mode"
    return f"{database}: maintenance until {local_minute(found['until'], zone)}: {found['reason']}"
