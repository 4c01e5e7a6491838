"""`sereno trust`: accepts the current server of a database and lets this instance delete in it."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, open_context, print_answer

if TYPE_CHECKING:
    from daemon.context import Context


def trust(
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="A configured database.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    beside: Annotated[
        bool,
        typer.Option("--beside", help="Keep the instances that are trusted already: share it."),
    ] = False,
) -> None:
    """Accept the current server's identity and let this instance delete rows in it."""
    with open_context(config, database) as context:
        if database not in context.config.databases:
            _trust_group(context, database, yes=yes)
            return
        from daemon.history import history
        from daemon.runs.sessions import newest_claimed_task
        from postgres.fencing.ownership import record_owner
        from postgres.session import MAINTAIN, open_session

        with open_session(context.target(database), MAINTAIN, "trust") as opened:
            facts = opened.facts
            place = f"database {facts.database} of the cluster {facts.system_identifier}"
            typer.echo(f"{database}: {place}", err=True)
            name = context.config.daemon.name
            if not yes:
                typer.confirm(f"Let {name} delete expired rows there?", abort=True)
            record_owner(opened, context.store.instance(), name, beside=beside)
            newest = newest_claimed_task(context, opened)
        server = history.Server(facts.system_identifier, facts.database_oid, facts.timeline)
        with context.store.transaction() as transaction:
            before = history.known_server(transaction, database)
            history.remember_server(transaction, database, server, context.clock())
            if newest is not None:
                history.accept_unknown_run(transaction, newest)
        if before is not None and before.system_identifier != facts.system_identifier:
            _resolve_cluster_alerts(context, before.system_identifier)
        answer = {"database": database, "trusted": True}
        print_answer(f"{database}: trusted", answer, as_json=as_json)


def _trust_group(context: "Context", group: str, *, yes: bool) -> None:
    """Accept the server in which the databases of a group are looked for."""
    from daemon.history import found_databases, history
    from domain.place import means
    from postgres.session import MAINTAIN, open_session

    with open_session(context.target(group), MAINTAIN, "trust") as opened:
        facts = opened.facts
    if not yes:
        typer.confirm(f"Look for databases in the cluster {facts.system_identifier}?", abort=True)
    server = history.Server(facts.system_identifier, facts.database_oid, facts.timeline)
    with context.store.transaction() as transaction:
        history.remember_server(transaction, group, server, context.clock())
        for name in context.config.databases:
            if means(group, name):
                found_databases.forget(transaction, name)
    typer.echo(f"{group}: its server is trusted; its databases are looked for again")


def _resolve_cluster_alerts(context: "Context", cluster: str) -> None:
    """Resolve the alerts about a cluster that is no longer maintained."""
    from domain.coverage import Coverage

    names = [name for name, check in context.checks.items() if check.header.scope == "cluster"]
    context.process_findings([], [Coverage(name, "", cluster=cluster) for name in names])
