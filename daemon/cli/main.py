"""The command line, put together; each command's own imports wait until it is called."""

from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli import act, alerts, archive, configure, delivery, demo, letter, look, prepare, serve

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
app.command("run")(serve.run)
app.command("install")(prepare.install)
app.command("trust")(prepare.trust)
app.command("plan")(look.plan)
app.command("now")(act.now)
app.command("check")(act.check)
app.command("status")(look.status)
app.command("history")(look.history)
app.command("report")(letter.report)
app.command("pause")(act.pause)
app.command("resume")(act.resume)
alerts.app.command("outbox")(delivery.outbox)
alerts.app.command("test")(delivery.test)
alerts.app.command("service-failed")(delivery.service_failed)
app.add_typer(alerts.app, name="alerts")
app.add_typer(archive.app, name="archive")
app.add_typer(configure.app, name="config")
