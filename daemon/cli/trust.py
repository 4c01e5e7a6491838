"""`sereno trust`: accepts the current server of a database and lets this instance delete in it."""

from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, open_context, print_answer


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
        from daemon.history import history
        from domain.coverage import Coverage
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
        server = history.Server(facts.system_identifier, facts.database_oid, facts.timeline)
        with context.store.transaction() as transaction:
            before = history.known_server(transaction, database)
            history.remember_server(transaction, database, server, context.clock())
        if before is not None and before.system_identifier != facts.system_identifier:
            cluster_checks = [
                name for name, check in context.checks.items() if check.header.scope == "cluster"
            ]
            coverage = [
                Coverage(name, "", cluster=before.system_identifier) for name in cluster_checks
            ]
            context.process_findings([], coverage)
        answer = {"database": database, "trusted": True}
        print_answer(f"{database}: trusted", answer, as_json=as_json)
