"""`sereno fleet`: the workers that share a state, and the databases that they look after."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    TagOption,
    fail,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit
from domain.place import SEPARATOR

if TYPE_CHECKING:
    from daemon.cli.fleet_values import Fleet
    from daemon.context import Context

WAIT_SECONDS = 1.0
IDLE_LOOKS = 3

app = typer.Typer(
    cls=CommandGroup,
    help="The workers that share a state (sereno run --worker), and their databases.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", show_default=False)]


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the leader, the number of runs at work, and missing workers and databases.

    Exits with 1 if none leads, or a worker gives no sign of life. How many databases of one
    server are worked on at once is limited by its sessions (databases.NAME.at_once).
    """
    from daemon.cli.output import counted, line

    with _opened(config) as fleet:
        code = Exit.FINE if fleet.is_well() else Exit.FOUND
        if as_json:
            print_json(fleet.summary())
            raise typer.Exit(code)
        taking = [one for one in fleet.workers if fleet.state_of(one) == "working"]
        at_once = sum(one.at_once for one in taking)
        leader = fleet.leader()
        line(f"fleet      {counted(len(taking), 'worker')} for {at_once} databases at once")
        line(f"leader     {leader or 'none (sereno run --worker)'}")
        for text in fleet.others():
            line(f"           {text}")
        line(f"running    {fleet.running_text()}")
        line(f"databases  {fleet.databases_text()}")
        line(f"state      {fleet.overview.store.name}")
        raise typer.Exit(code)


@app.command()
def workers(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show each worker: its machine, its work and its last sign of life."""
    from daemon.cli.fleet_values import ago
    from daemon.cli.output import columns, line

    with _opened(config) as fleet:
        rows = [fleet.row(one) for one in fleet.workers]
        if as_json:
            print_json(rows)
            return
        if not rows:
            line("no worker: sereno run --worker on each machine, with one state in a database")
            return
        head = ("WORKER", "STATE", "RUNS", "AT ONCE", "LAST SIGN", "PROCESS", "VERSION")
        texts = [
            (
                row["name"] + (" (leads)" if row["leads"] else ""),
                row["state"],
                row["running"],
                row["at_once"],
                ago(fleet.now - one.seen_at) if one.process else "",
                one.worker.name if one.worker else "",
                row["version"],
            )
            for row, one in zip(rows, fleet.workers, strict=True)
        ]
        for text in columns([head, *texts], right=frozenset({2, 3})):
            line(text)


@app.command()
def databases(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each database: its server, its tags, its last run and its open alerts."""
    from daemon.cli.output import columns, line, local_minute

    with _opened(config) as fleet:
        if database is not None or tag:
            fleet.overview = fleet.overview.only(database, tag or ())
        rows = fleet.database_rows()
        if as_json:
            print_json(rows)
            return
        overview = fleet.overview
        head = ("DATABASE", "SERVER", "LAST RUN", "ALERTS", "TAGS")
        texts = [
            (
                row["name"],
                row["server"],
                "missing"
                if row["missing"]
                else local_minute(row["last_run"], overview.zone, overview.now()),
                row["alerts"] or "",
                ", ".join(row["tags"]),
            )
            for row in rows
        ]
        for text in columns([head, *texts], right=frozenset({3})):
            line(text)


@app.command()
def drain(
    worker: WorkerArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take work again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its runs have ended.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let a worker take nothing more, before its machine is stopped; its runs go on to their end.

    It stays drained when it is started again. One that gives no sign of life is removed from the
    list: it is there again when it starts.
    """
    from daemon.cli.output import counted, line
    from daemon.history import fleet as statements

    with _opened(config) as fleet:
        one = fleet.find(worker)
        if not undo and fleet.state_of(one) == "silent":
            with fleet.overview.store.transaction() as transaction:
                statements.remove(transaction, worker)
            line(f"{worker} gives no sign of life: it is removed from the list")
            return
        others = [
            two for two in fleet.workers if fleet.state_of(two) == "working" and two is not one
        ]
        if not undo and not others:
            fail(f"{worker} is the only worker that takes work: start another one first", Exit.BUSY)
        with fleet.overview.store.transaction() as transaction:
            statements.drain(transaction, worker, draining=not undo)
        if undo:
            line(f"{worker} takes work again" if one.draining else f"{worker} was not drained")
            return
        running = fleet.running[one.process]
        line(f"{worker} takes nothing more; {counted(running, 'run')} to end there")
        if wait:
            _wait_until_idle(fleet, worker)
            line(f"{worker} has no work: its machine can be stopped")


def _wait_until_idle(fleet: "Fleet", worker: str) -> None:
    """Wait until a worker knows that it is drained, and has had no run for some seconds."""
    known, idle = fleet.find(worker).seen_at, 0
    signs = 0
    while idle < IDLE_LOOKS:
        time.sleep(WAIT_SECONDS)
        now = fleet.renewed()
        one = now.find(worker)
        if now.state_of(one) == "silent":
            fail(f"{worker} gives no sign of life: its work is given to others", Exit.FOUND)
        signs += one.seen_at != known
        known = one.seen_at
        busy = one.process and (signs < 2 or now.running[one.process])  # noqa: PLR2004 - the first may have been under way
        idle = 0 if busy else idle + 1


@app.command()
def retire(
    database: Annotated[str, typer.Argument(metavar="DATABASE", show_default=False)],
    config: ConfigOption = None,
) -> None:
    """Forget a database of a group that does not exist any more, now instead of later.

    Its server is asked first. Its alerts end; its runs stay in the history.
    """
    from daemon.cli.output import line
    from daemon.membership import retire_missing

    with open_context(config, looks=True) as context:
        _refuse_present(context, database)
        retire_missing(context, database)
        line(f"{database} is retired: its alerts have ended")


def _refuse_present(context: "Context", database: str) -> None:
    """Exit unless a database of a group is missing."""
    if database in context.missing:
        return
    if database in context.config.databases:
        cure = "take its entry out of the configuration"
        group, found, _ = database.partition(SEPARATOR)
        if found:
            cure = f"leave it out by databases.{group}.except"
        fail(f"{database} is there: to do nothing in it, {cure}", Exit.CANNOT)
    missing = ", ".join(sorted(context.missing)) or "none"
    fail(
        f"{database} is not a database of a group that is missing (missing: {missing})", Exit.CANNOT
    )


@contextmanager
def _opened(config: Path | None) -> "Iterator[Fleet]":
    from daemon.cli.fleet_values import Fleet
    from daemon.cli.overview import open_overview

    with open_overview(config) as overview:
        yield Fleet(overview)
