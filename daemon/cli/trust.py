"""`sereno trust`: accepts the current server of a database and lets this instance delete in it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import ConfigOption, JsonOption, open_context, print_answer, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from postgres.session import Session


def trust(
    database: Annotated[
        str, typer.Argument(metavar="DATABASE", help="A configured database, or a group.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    beside: Annotated[
        bool,
        typer.Option("--beside", help="Keep the instances that are trusted already: share it."),
    ] = False,
) -> None:
    """Accept the current server's identity and let this instance delete rows in it.

    For a group, in each of its databases; exits with 2 if one of them refuses.
    """
    with open_context(config, database) as context:
        if database not in context.config.databases:
            _trust_group(context, database, yes=yes, beside=beside, as_json=as_json)
            return
        from postgres.session import MAINTAIN, open_session

        with open_session(context.target(database), MAINTAIN, "trust") as opened:
            facts = opened.facts
            place = f"database {facts.database} of the cluster {facts.system_identifier}"
            typer.echo(f"{database}: {place}", err=True)
            name = context.config.daemon.name
            if not yes:
                typer.confirm(f"Let {name} delete expired rows there?", abort=True)
            _accept(context, opened, beside=beside)
        answer = {"database": database, "trusted": True}
        print_answer(f"{database}: trusted", answer, as_json=as_json)


def _accept(context: "Context", opened: "Session", *, beside: bool) -> None:
    """Let this instance delete in a database, and remember its server. Raises TargetError."""
    from daemon.history import history
    from daemon.runs.sessions import newest_claimed_task
    from postgres.fencing.ownership import record_owner

    record_owner(opened, context.store.instance(), context.config.daemon.name, beside=beside)
    newest = newest_claimed_task(context, opened)
    if newest is not None:
        with context.store.transaction() as transaction:
            history.accept_unknown_run(transaction, newest)
    _remember(context, opened)


def _remember(context: "Context", opened: "Session") -> None:
    """Remember the server of a database; the alerts of another one before it end."""
    from daemon.history import history
    from daemon.runs.sessions import server_in

    database, server = opened.target.name, server_in(opened)
    with context.store.transaction() as transaction:
        before = history.known_server(transaction, database)
        history.remember_server(transaction, database, server, context.clock())
    if before is not None and before.system_identifier != server.system_identifier:
        _resolve_cluster_alerts(context, before.system_identifier)


def _trust_group(context: "Context", group: str, *, yes: bool, beside: bool, as_json: bool) -> None:
    """Accept the server of a group, and let this instance delete in its prepared databases."""
    from daemon.bootstrap import renewed
    from daemon.cli.output import counted
    from daemon.discovery import look_for_databases
    from daemon.history import history
    from daemon.runs.sessions import server_in
    from postgres.session import MAINTAIN, open_session

    with open_session(context.target(group), MAINTAIN, "trust") as opened:
        server = server_in(opened)
    if not as_json:
        typer.echo(f"{group}: the cluster {server.system_identifier}", err=True)
    if not yes:
        name = context.config.daemon.name
        question = f"Let {name} delete expired rows in the databases of {group} there?"
        typer.confirm(question, abort=True)
    with context.store.transaction() as transaction:
        history.remember_server(transaction, group, server, context.clock())
    for error in look_for_databases(context, [group]).values():
        raise error
    results = list(_trust_members(renewed(context), group, beside=beside))
    trusted = [one["database"] for one in results if one["trusted"]]
    if as_json:
        print_json({"database": group, "trusted": True, "databases": results})
    else:
        for one in results:
            if not one["trusted"]:
                typer.echo(f"  {one['reason']}", err=True)
        among = f"{len(trusted)} of {counted(len(results), 'database')}"
        typer.echo(f"{group}: its server is trusted; expired rows may be deleted in {among}")
    if any(one["failed"] for one in results):
        raise typer.Exit(Exit.CANNOT)


def _trust_members(context: "Context", group: str, *, beside: bool) -> Iterator[dict[str, Any]]:
    """Accept each database of a group; one without the schema `sereno` needs no trust."""
    import psycopg

    from domain.place import means
    from execution.errors import first_line
    from postgres.fencing.delete_permission import is_installed
    from postgres.session import MAINTAIN, TargetError, open_session

    for name in context.config.databases:
        if name == group or not means(group, name):
            continue
        result = {"database": name, "trusted": False, "failed": False, "reason": ""}
        try:
            with open_session(context.target(name), MAINTAIN, "trust") as opened:
                if not is_installed(opened):
                    _remember(context, opened)
                    yield {**result, "reason": f"{name}: not installed: no row is deleted there"}
                    continue
                _accept(context, opened, beside=beside)
        except (TargetError, psycopg.Error) as error:
            yield {**result, "failed": True, "reason": first_line(error)}
        else:
            yield {**result, "trusted": True}


def _resolve_cluster_alerts(context: "Context", cluster: str) -> None:
    """Resolve the alerts about a cluster that is no longer maintained."""
    from domain.coverage import Coverage

    names = [name for name, check in context.checks.items() if check.header.scope == "cluster"]
    context.process_findings([], [Coverage(name, "", cluster=cluster) for name in names])
