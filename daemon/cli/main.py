"""The command line; each command imports what it needs when it is called."""

from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli import (
    alerts,
    archive,
    check,
    config,
    demo,
    fleet,
    history,
    init,
    install,
    metrics,
    migrate,
    migrate_gates,
    migrate_lint,
    migrate_operate,
    migrate_views,
    now,
    patch,
    pause,
    plan,
    report,
    run,
    state,
    status,
    trust,
    web,
)
from daemon.cli.command_group import CommandGroup

app = typer.Typer(
    cls=CommandGroup,
    name="sereno",
    help="Maintenance, integrity checks and alerts for PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # its help renderer alone takes 0.2 s to import
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"sereno {version('sereno')}")
        raise typer.Exit


@app.callback()
def _main(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del show  # its callback has answered


app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("init")(init.init)
app.command("install")(install.install)
app.command("trust")(trust.trust)
app.command("plan")(plan.plan)
app.command("now")(now.now)
app.command("check")(check.check)
app.command("status")(status.status)
app.command("history")(history.history)
app.command("metrics")(metrics.metrics)
app.command("report")(report.report)
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.add_typer(alerts.app, name="alerts")
app.add_typer(archive.app, name="archive")
app.add_typer(patch.app, name="patch")
migrate_views.add_to(migrate.app)
migrate_gates.add_to(migrate.app)
migrate_operate.add_to(migrate.app)
migrate_lint.add_to(migrate.app)
app.add_typer(migrate.app, name="migrate")
app.add_typer(web.app, name="web")
app.add_typer(state.app, name="state")
app.add_typer(fleet.app, name="fleet")
app.add_typer(config.app, name="config")
