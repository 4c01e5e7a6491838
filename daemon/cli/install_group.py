"""`sereno install --discover`: prepares every database of a group."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from daemon.cli.install_database import admin_hint, administrator, install_database, note
from daemon.cli.options import fail, plain_error, print_json, unknown_name
from daemon.cli.output import counted
from daemon.exit_codes import Exit
from domain.place import SEPARATOR

if TYPE_CHECKING:
    from daemon.context import Context


def install_group(
    context: "Context", chosen: str, admin: str | None, *, print_only: bool, as_json: bool
) -> None:
    """Install in each database of a group, or in a single one; a failure stops no other one.

    The administrator lists the databases, since the logins may not be there yet. Exits with 2 if
    a database could not be prepared or there is none, with 1 if the server refuses a login.
    """
    group, _, single = chosen.partition(SEPARATOR)
    names = _chosen(context, group, single, admin)
    context = _with_members(context, group, names)
    told, results = set[Path](), list[dict[str, Any]]()
    for number, name in enumerate(names, 1):
        results.append(_install(context, (group, name), admin, told, print_only=print_only))
        if not as_json:
            _tell(results[-1], f"{number}/{len(names)}")
    done = [one["name"] for one in results if one["done"]]
    _record(context, group, done)
    if as_json:
        for one in results:
            del one["name"]
        print_json(results)
    elif not print_only:
        typer.echo(f"{group}: {len(done)} of {counted(len(results), 'database')} prepared")
    raise typer.Exit(_code(results))


def _chosen(context: "Context", group: str, single: str, admin: str | None) -> list[str]:
    """Return the databases of a group, or a single one; exit with 2 for none."""
    names = _listed(context, group, admin)
    if single and single not in names:
        known = [f"{group}{SEPARATOR}{one}" for one in names]
        fail(unknown_name("database", f"{group}{SEPARATOR}{single}", known), Exit.CANNOT)
    if not names:
        pattern = context.written.databases[group].discover
        fail(f"{group}: no database of its server has a name like {pattern}", Exit.CANNOT)
    return [single] if single else names


def _code(results: list[dict[str, Any]]) -> Exit:
    if any(one["failed"] for one in results):
        return Exit.CANNOT
    return Exit.FOUND if any(one["refused"] for one in results) else Exit.FINE


def _listed(context: "Context", group: str, admin: str | None) -> list[str]:
    """Return the names of the databases of a group, as the administrator sees them."""
    import psycopg

    from daemon.config.servers import database_of
    from daemon.discovery import DATABASES
    from execution.errors import first_line
    from postgres.administrator import open_admin_session
    from postgres.session import UnreachableError

    entry = context.written.databases[group]
    conninfo = administrator(admin, entry.dsn, database_of(entry.dsn))
    try:
        with open_admin_session(conninfo, group) as connection:
            rows = connection.execute(DATABASES, (entry.discover, list(entry.exclude))).fetchall()
    except UnreachableError as error:
        hint = admin_hint(str(error), admin or "", f"--discover {group}")
        fail(f"{error}\n  {hint}", Exit.CANNOT)
    except psycopg.Error as error:
        fail(f"{group}: its databases cannot be listed: {first_line(error)}", Exit.CANNOT)
    return [row["name"] for row in rows if row["fits"]]


def _with_members(context: "Context", group: str, names: Sequence[str]) -> "Context":
    """Return the context with these databases of a group."""
    from daemon.config.groups import Found, with_found

    found = [Found(group, name, context.clock(), None) for name in names]
    return replace(context, config=with_found(context.written, found))


def _install(
    context: "Context",
    key: tuple[str, str],
    admin: str | None,
    told: set[Path],
    *,
    print_only: bool,
) -> dict[str, Any]:
    """Install in one database (group and name), as the administrator of that database."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    from daemon.config.groups import member_name
    from postgres.session import TargetError

    member, name = member_name(*key), key[1]
    conninfo = make_conninfo(admin, dbname=name) if admin else None
    result: dict[str, Any] = {"database": member, "name": name, "done": False, "failed": False}
    result["refused"] = {}
    if print_only and not name.isprintable():
        typer.echo(f"sereno: {member!r}: a script cannot connect to such a name", err=True)
        return {**result, "failed": True}
    try:
        found = install_database(context, member, conninfo, print_only=print_only, told=told)
    except typer.Exit:
        return {**result, "failed": True}
    except (TargetError, psycopg.Error, OSError) as error:
        typer.echo(f"sereno: {member}: {plain_error(error)}", err=True)
        return {**result, "failed": True}
    statements = [_connect(name), *found.statements] if print_only else found.statements
    result |= {"statements": statements, "notes": list(found.shortcomings)}
    return result if print_only else {**result, "done": True, "refused": dict(found.refused)}


def _record(context: "Context", group: str, done: Sequence[str]) -> None:
    """Record which databases are prepared; what cannot be asked now is asked at the next look."""
    from daemon.discovery import look_for_databases
    from daemon.runs.sessions import record_prepared

    if not done:
        return
    look_for_databases(context, [group])
    for name in done:
        record_prepared(context, (group, name), prepared=True)
    look_for_databases(context, [group])


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
