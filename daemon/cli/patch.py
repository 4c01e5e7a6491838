"""`sereno patch`: minor upgrades of PostgreSQL's packages, for the unit sereno-patch.service."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.options import ConfigOption, fail, open_context
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.patching.settings import PatchSettings
    from daemon.patching.upgrade import Upgrade
    from domain.calendar import Due

MOST_BYTES = 1_000_000
app = typer.Typer(
    cls=CommandGroup,
    help="Minor upgrades of PostgreSQL's packages, by root's unit sereno-patch.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="Root's file; default /etc/sereno/patch.toml.", show_default=False
    ),
]


@app.command("plan")
def plan(settings: SettingsOption = None) -> None:
    """Show what apply would do now; changes nothing, and does not refresh the package lists."""
    from daemon.patching.packages import RefusedError
    from daemon.patching.upgrade import StoppedError, listed

    upgrade = _upgrade(settings)
    due = upgrade.settings.open_window(upgrade.clock())
    if upgrade.settings.apply == "report":
        typer.echo('patch.toml: apply = "report": nothing would be installed')
    typer.echo(f"window: {'open' if due else _closed(upgrade.settings)}")
    try:
        upgrades = upgrade.pending()
    except (RefusedError, StoppedError) as error:
        fail(str(error), Exit.CANNOT)
    for one in upgrades:
        typer.echo(f"pending: {listed([one])}")
    if not upgrades:
        majors = ", ".join(map(str, upgrade.settings.majors)) or "none is listed"
        typer.echo(f"pending: nothing for the installed packages of major versions: {majors}")
    for objection in upgrade.service.objections(hold=False):
        typer.echo(f"objection: {objection}")


@app.command("apply")
def apply(settings: SettingsOption = None) -> None:
    """Install pending minor releases, if the window is open and the service has no objection.

    Exits with 3 outside the window, 75 if something prevents it now, 1 if a step failed.
    """
    upgrade = _upgrade(settings)
    if upgrade.settings.apply == "report":
        typer.echo('patch.toml: apply = "report": nothing is installed')
        return
    if os.geteuid() != 0:
        fail("installing packages needs root: sudo systemctl start sereno-patch", Exit.CANNOT)
    due = upgrade.settings.open_window(upgrade.clock())
    if due is None:
        typer.echo(f"not now: {_closed(upgrade.settings)}")
        raise typer.Exit(Exit.WINDOW)
    raise typer.Exit(_applied(upgrade, due))


def _applied(upgrade: "Upgrade", due: "Due") -> Exit:
    """Run the upgrade, tell the service, and return the exit code."""
    report = upgrade.run(due)
    typer.echo(f"{report.state}: {report.reason}")
    if wrong := upgrade.service.tell(report):
        fail(f"the service was not told: {wrong}", Exit.CANNOT)
    codes = {"finished": Exit.FINE, "skipped": Exit.BUSY, "failed": Exit.FOUND}
    return codes[report.state]


def _upgrade(path: Path | None) -> "Upgrade":
    """Return an attempt by root's settings; exits with 78 if they cannot be used."""
    from alerts.courier import now
    from daemon.patching.service import Service
    from daemon.patching.settings import DEFAULT, SettingsError, load_settings
    from daemon.patching.upgrade import Upgrade

    try:
        settings = load_settings(path or DEFAULT)
    except SettingsError as error:
        fail(str(error), Exit.CONFIG)
    return Upgrade(settings, Service(settings.user), now, typer.echo)


def _closed(settings: "PatchSettings") -> str:
    """Return a sentence about a window that is not open."""
    from domain.units import format_duration

    length = format_duration(settings.window)
    return f"outside the window (cron {str(settings.cron)!r}, {length}, {settings.timezone})"


@app.command("ask")
def ask(
    config: ConfigOption = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Without an objection, pause all work for 30 minutes.")
    ] = False,
) -> None:
    """Print the service's objections to an upgrade now; exit with 1 if there is one."""
    with open_context(config) as context:
        from daemon.patching.objections import objections

        found = objections(context, hold=hold)
        for objection in found:
            typer.echo(" ".join(objection.split()))
        raise typer.Exit(Exit.FOUND if found else Exit.FINE)


@app.command("record")
def record(config: ConfigOption = None) -> None:
    """Record what the unit did, from its report on standard input."""
    from pydantic import ValidationError

    with open_context(config) as context:
        from daemon.config.problem import problems_of
        from daemon.patching.record_upgrade import record as record_report
        from daemon.patching.upgrade_report import UpgradeReport

        try:
            report = UpgradeReport.model_validate_json(sys.stdin.buffer.read(MOST_BYTES))
        except ValidationError as error:
            first = problems_of(error, UpgradeReport, ())
            fail(f"standard input is not a report: {next(first)}", Exit.CANNOT)
        number = record_report(context, report)
        typer.echo(f"run {number}" if number else "recorded before")
