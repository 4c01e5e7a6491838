"""`sereno install` and `sereno trust`: what a database needs before rows may be deleted in it."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    fail,
    open_context,
    print_answer,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from postgres.fencing.install import InstallRequest


def install(
    database: Annotated[str, typer.Argument(help="A database of the configuration.")],
    admin: Annotated[
        str | None,
        typer.Option(
            "--admin",
            help="Connect as: a DSN that may create roles and a schema.",
            show_default=False,
        ),
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Only print the SQL, for a DBA to read first.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the sereno schema and the two logins, or print the SQL. May be run again."""
    with open_context(config, database) as context:
        from postgres.fencing import install
        from postgres.session import UnreachableError, open_admin_session

        wishes = _wishes(context, database)
        conninfo = admin or context.config.databases[database].dsn
        try:
            with open_admin_session(conninfo, database) as connection:
                commands = list(install.install_statements(connection, wishes))
                shortcomings = list(install.shortcomings(connection))
                if not print_only:
                    install.install(connection, commands)
        except install.InstallError as error:
            fail(f"{database}: {error}", Exit.CANNOT)
        except UnreachableError as error:
            fail(
                f"{error}\n  install connects as who may create roles: give --admin DSN",
                Exit.CANNOT,
            )
        script = [install.printable_statements(command) for command in commands]
        if as_json:
            print_json(
                {
                    "database": database,
                    "done": not print_only,
                    "statements": script,
                    "notes": shortcomings,
                }
            )
            return
        typer.echo("\n".join(script))
        for shortcoming in shortcomings:
            typer.echo(f"-- note: {shortcoming}", err=True)
        if not print_only:
            typer.echo(f"-- done: {len(commands)} statements in {database}", err=True)


def trust(
    database: Annotated[str, typer.Argument(help="A database of the configuration.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside",
            help="Let those that are trusted already stay so: two serenos for one database.",
        ),
    ] = False,
) -> None:
    """Let this instance, and no other, delete rows in a database.

    Take the server that answers for the right one.
    """
    with open_context(config, database) as context:
        from daemon.alerting import process_findings
        from daemon.history import history
        from domain.coverage import Coverage
        from postgres.fencing.ownership import record_owner
        from postgres.session import open_session

        with open_session(context.target(database), "maintain", "trust") as opened:
            facts = opened.facts
            typer.echo(
                f"{database}: database {facts.database} of the cluster {facts.system_identifier}",
                err=True,
            )
            if not yes:
                typer.confirm(
                    f"Let {context.config.daemon.name} delete expired rows there?", abort=True
                )
            record_owner(
                opened, context.store.instance(), context.config.daemon.name, beside=beside
            )
        with context.store.transaction() as transaction:
            before = history.known_server(transaction, database)
            history.remember_server(
                transaction,
                database,
                (facts.system_identifier, facts.database_oid),
                context.clock(),
            )
        if before is not None and before[0] != facts.system_identifier:
            clusterwide = [
                name for name, check in context.checks.items() if check.header.scope == "cluster"
            ]
            process_findings(
                context, [], [Coverage(name, "", cluster=before[0]) for name in clusterwide]
            )
        print_answer(
            f"{database}: trusted", {"database": database, "trusted": True}, as_json=as_json
        )


def _wishes(context: "Context", database: str) -> "InstallRequest":
    from postgres.fencing.install import InstallRequest

    target = context.target(database)
    if "maintain" not in target.logins or "data" not in target.logins:
        fail(
            f"databases.{database} names no two logins; add for example:\n"
            '  maintain = { user = "sereno_maintain", password = { credential = "maintain" } }\n'
            '  data = { user = "sereno_data", password = { credential = "data" } }',
            Exit.CONFIG,
        )
    config = context.config
    here = {None, database}
    tables = {
        wish.table: "jobs.log_cleanup.tables"
        for wish in config.job("log_cleanup").tables
        if wish.database in here
    }
    archived = [wish for wish in config.job("archive").tables if wish.database in here]
    tables |= {
        table: "jobs.archive.tables" for wish in archived for table in (wish.table, *wish.children)
    }
    return InstallRequest(
        target.logins["maintain"],
        target.logins["data"],
        tables,
        [wish.to.table for wish in archived if wish.to.table],
        context.store.instance(),
        context.config.daemon.name,
    )
