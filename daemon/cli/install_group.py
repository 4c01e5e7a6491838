"""`sereno install --discover`: prepares every database of a group."""

from typing import TYPE_CHECKING, Any

import typer

from daemon.cli.install_database import install_database, note
from daemon.cli.options import print_json
from daemon.cli.output import counted
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.groups import FoundDatabase
    from daemon.context import Context


def install_group(
    context: "Context", group: str, admin: str | None, *, print_only: bool, as_json: bool
) -> None:
    """Install in each database of a group; a failure in one keeps no other from being prepared.

    Exits with 2 if a database could not be prepared, with 1 if the server refuses a login.
    """
    members = [name for name, one in _members(context).items() if one.group == group]
    results = []
    for number, name in enumerate(members, 1):
        results.append(_install(context, name, admin, print_only=print_only))
        if not as_json:
            _tell(results[-1], f"{number}/{len(members)}")
    if as_json:
        print_json(results)
    elif not print_only:
        done = [one for one in results if one["done"]]
        typer.echo(f"{group}: {len(done)} of {counted(len(results), 'database')} prepared")
    raise typer.Exit(_code(results))


def _code(results: list[dict[str, Any]]) -> Exit:
    if any(one["failed"] for one in results):
        return Exit.CANNOT
    return Exit.FOUND if any(one["refused"] for one in results) else Exit.FINE


def _members(context: "Context") -> "dict[str, FoundDatabase]":
    from daemon.config.groups import FoundDatabase

    databases = context.config.databases
    return {name: one for name, one in databases.items() if isinstance(one, FoundDatabase)}


def _install(
    context: "Context", name: str, admin: str | None, *, print_only: bool
) -> dict[str, Any]:
    """Install in one database, as the administrator of that database."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from daemon.history import found_databases

    one = _members(context)[name]
    database = str(conninfo_to_dict(one.dsn)["dbname"])
    conninfo = make_conninfo(admin, dbname=database) if admin else None
    result: dict[str, Any] = {"database": name, "done": False, "failed": False, "refused": {}}
    if print_only and not database.isprintable():
        typer.echo(f"sereno: {name!r}: a script cannot connect to such a name", err=True)
        return {**result, "failed": True}
    try:
        found = install_database(context, name, conninfo, print_only=print_only)
    except typer.Exit:
        return {**result, "failed": True}
    statements = [_connect(database), *found.statements] if print_only else found.statements
    result |= {"statements": statements, "notes": list(found.shortcomings)}
    if print_only:
        return result
    with context.store.transaction() as transaction:
        found_databases.mark_prepared(transaction, (one.group, database), prepared=True)
    return {**result, "done": True, "refused": dict(found.refused)}


def _connect(database: str) -> str:
    """Return the command by which psql goes on in a database, whatever its printable name."""
    from psycopg.conninfo import make_conninfo

    place = make_conninfo(dbname=database).replace('"', '""')
    return f'\\connect -reuse-previous=on "{place}"'


def _tell(result: dict[str, Any], number: str) -> None:
    """Print one database as it ends; the statements, if they are only printed."""
    if result["failed"]:
        return  # said on standard error
    if not result["done"]:
        typer.echo("\n".join([*map(note, result["notes"]), *result["statements"]]))
        return
    typer.echo(f"{number} {result['database']}: ready", err=True)
    for user, reason in result["refused"].items():
        typer.echo(f"  {user}: {reason}", err=True)
