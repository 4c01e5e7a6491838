"""The command line, put together; each command's own imports wait until it is called."""

from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli import alerts, archive, config, demo, install, now, outbox, plan, report, run

app = typer.Typer(
    name="sereno",
    help="The night watchman of your PostgreSQL: maintenance, integrity, alerts.",
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
app.command("install")(install.install)
app.command("trust")(install.trust)
app.command("plan")(plan.plan)
app.command("now")(now.now)
app.command("check")(now.check)
app.command("status")(plan.status)
app.command("history")(plan.history)
app.command("report")(report.report)
app.command("pause")(now.pause)
app.command("resume")(now.resume)
alerts.app.command("outbox")(outbox.outbox)
alerts.app.command("test")(outbox.test)
alerts.app.command("service-failed")(outbox.service_failed)
app.add_typer(alerts.app, name="alerts")
app.add_typer(archive.app, name="archive")
app.add_typer(config.app, name="config")
