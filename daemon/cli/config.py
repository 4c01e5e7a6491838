"""`sereno config check` and `sereno config reference`."""

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    config_path,
    fail,
    load_configuration,
    print_json,
)
from daemon.exit_codes import Exit

app = typer.Typer(
    cls=CommandGroup,
    help="Check the configuration; print the reference.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print every mistake in the configuration; exits with 78 if there is one."""
    from checks.registry import broken_checks, load
    from daemon.config.notes import configuration_notes, unusable_secret_files

    loaded = load_configuration(config)
    problems = [one.problem for one in broken_checks(load(loaded.daemon.checks))]
    if unusable := [*unusable_secret_files(loaded), *problems]:
        lines = "\n".join(f"  {line}" for line in unusable)
        fail(f"{config_path(config)}:\n{lines}", Exit.CONFIG)
    found = {
        "databases": list(loaded.databases),
        "schedules": {
            name: f"{one.cron}: {', '.join(one.jobs)}" for name, one in loaded.timetable.items()
        },
        "channels": {name: options.type for name, options in loaded.channels.items()},
    }
    notes = list(configuration_notes(loaded))
    if as_json:
        print_json({**found, "notes": notes})
        return
    parts = [f"{name}: {', '.join(items) or 'none'}" for name, items in found.items()]
    typer.echo(f"valid: {'; '.join(parts)}")
    for note in notes:
        typer.echo(f"note: {note}", err=True)


@app.command()
def reference() -> None:
    """Print every option with its default and its description."""
    from daemon.config.reference import reference as text

    typer.echo(text(), nl=False)
