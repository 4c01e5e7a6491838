"""`sereno archive …`."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    fail,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from postgres.session import Session
    from retention.archive.ledger import LedgeredBatch
    from retention.archive.restore import Conflict

STATEMENT_SECONDS = 12 * 3600.0
"""A batch comes back as a whole, however slow the triggers are that it meets."""

app = typer.Typer(
    help="What was archived, whether it is whole, and how it comes back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_batches(
    config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """List the files, and what is in them."""
    with open_context(config, database) as context:
        from daemon.console import print_table

        found: list[tuple[str, LedgeredBatch]] = []
        moved: list[str] = []
        for name in _databases(context, database):
            with _opened(context, name) as session:
                from retention.archive import ledger

                found += [(name, batch) for batch in _read(session)]
                moved += [f"{name}: {line}" for line in ledger.moved_batches(session)]
        if as_json:
            print_json([_as_row(name, batch) for name, batch in found])
            return
        files: dict[tuple[str, str, str], list[LedgeredBatch]] = {}
        for name, batch in found:
            files.setdefault((name, str(batch.table), batch.path), []).append(batch)
        rows = [
            (
                *key,
                len(batches),
                sum(batch.entry.frame.rows for batch in batches),
                sum(batch.entry.frame.length for batch in batches),
                min(batch.entry.first for batch in batches),
                max(batch.entry.last for batch in batches),
                sum(batch.restored for batch in batches) or "",
            )
            for key, batches in files.items()
        ]
        if rows or not moved:
            print_table(
                "Archive",
                ("database", "table", "file", "batches", "rows", "bytes", "from", "to", "restored"),
                rows,
            )
        for line in moved:
            typer.echo(line)


@app.command()
def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also load every batch into a scratch table.")
    ] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every file again, and compare it with the ledger.

    Exit 1: something is missing or damaged.
    """
    with open_context(config, database) as context:
        from retention.archive import verify as verifying

        said = []
        for name in _databases(context, database):
            with _opened(context, name, login="data" if deep else "maintain") as session:
                _ledger(session)
                if deep:  # what hangs on a type runs with the login's rights
                    _harmless(session, context.store.instance())
                said.append((name, verifying.verify(session, deep=deep)))
        faults = [
            {"database": name, "file": fault.file, "what": fault.what}
            for name, seen in said
            for fault in seen.faults
        ]
        if as_json:
            totals = [
                {
                    "database": name,
                    "files": seen.files,
                    "batches": seen.batches,
                    "rows": seen.rows,
                    "bytes": seen.bytes,
                }
                for name, seen in said
            ]
            print_json({"verified": totals, "faults": faults})
        else:
            for name, seen in said:
                typer.echo(
                    f"{name}: {seen.files} files, {seen.batches} batches, {seen.rows} rows, {seen.bytes} bytes"
                )
            for fault in faults:
                typer.echo(f"{fault['database']}: {fault['file']}: {fault['what']}", err=True)
        if faults:
            raise typer.Exit(Exit.FOUND)


@app.command()
def restore(
    table: Annotated[str, typer.Argument(help="The table, as in SQL, with its schema.")],
    database: Annotated[str, typer.Option("--database", help="Which database it is in.")],
    admin: Annotated[
        str, typer.Option("--admin", help="Connect as: a DSN that may insert into the table.")
    ],
    batch: Annotated[
        list[str] | None, typer.Option("--batch", help="Only this batch; may be repeated.")
    ] = None,
    privileged: Annotated[
        bool,
        typer.Option(
            "--privileged", help="As a superuser: what hangs on the table runs with those rights."
        ),
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave rows alone whose key is there already.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put archived rows back into their table, each batch once. The files stay as they are."""
    with open_context(config, database) as context:
        from retention.archive.restore import PRIVILEGED

        with _opened(context, database, admin) as session:
            batches = _of_table(session, table, batch or ())
            if session.superuser() and not privileged:
                fail(PRIVILEGED.format(table=table), Exit.CANNOT)
            owed = [one for one in batches if not one.restored]
            rows = sum(one.entry.frame.rows for one in owed)
            if owed and not yes:
                typer.confirm(
                    f"Put {rows} rows of {len(owed)} batches back into {table}?", abort=True
                )
            done = list(_restored(session, owed, "skip" if skip else "error"))
        before = len(batches) - len(owed)
        if as_json:
            print_json({"table": table, "restored": done, "before": before})
        else:
            came, there = (sum(int(str(one[key])) for one in done) for key in ("rows", "there"))
            typer.echo(
                f"{table}: {came} rows came back, {there} were there; {before} batches came back earlier"
            )


def _of_table(session: "Session", text: str, only: Collection[str]) -> "list[LedgeredBatch]":
    from postgres.identifiers import parse_relation

    try:
        table = parse_relation(text)
    except ValueError as error:
        fail(str(error), Exit.CANNOT)
    batches = [
        one
        for one in _read(session)
        if one.table == table and (not only or one.entry.batch in only)
    ]
    if not batches:
        fail(
            f"the archive holds nothing such of {table}; see: sereno archive list",
            Exit.CANNOT,
        )
    return batches


def _restored(
    session: "Session", owed: "Sequence[LedgeredBatch]", conflict: "Conflict"
) -> Iterator[dict[str, object]]:
    from retention.archive.restore import RestoreError, restore

    for number, one in enumerate(owed, 1):
        try:
            came = restore(session, one, conflict)
        except (RestoreError, OSError) as error:
            said = (
                f"{one.path}, batch {one.entry.batch}: {getattr(error, 'strerror', None) or error}"
            )
            fail(f"{said}; {number - 1} batches came back", Exit.CANNOT)
        typer.echo(f"{number} of {len(owed)} batches", err=True)
        if came is not None:
            yield {"batch": one.entry.batch, "rows": came.rows, "there": came.there}


def _databases(context: "Context", only: str | None) -> list[str]:
    return [name for name in context.config.databases if only in {None, name}]


@contextmanager
def _opened(
    context: "Context", name: str, admin: str = "", login: Literal["maintain", "data"] = "maintain"
) -> "Iterator[Session]":
    from dataclasses import replace

    from postgres.session import open_session

    target = context.target(name)
    if admin:
        target = replace(target, conninfo=admin, logins={})
    with open_session(target, login, "archive") as opened:
        opened.set_timeouts(STATEMENT_SECONDS)
        yield opened


def _ledger(session: "Session") -> None:
    """See that there is one: without it nothing could be seen, and nothing would be wrong."""
    from jobs.archive import NO_LEDGER
    from postgres.fencing.ownership import is_installed_table
    from retention.archive import ledger

    if not is_installed_table(session, ledger.TABLE):
        fail(NO_LEDGER.format(session.target.name), Exit.CANNOT)


def _read(session: "Session") -> "list[LedgeredBatch]":
    from retention.archive import ledger

    _ledger(session)
    return ledger.all_batches(session)


def _harmless(session: "Session", instance: str) -> None:
    from postgres.fencing import delete_permission

    if refused := delete_permission.refusal_reason(session, instance):
        fail(f"--deep: {refused}", Exit.CANNOT)


def _as_row(name: str, batch: "LedgeredBatch") -> dict[str, object]:
    entry, frame = batch.entry, batch.entry.frame
    return {
        "database": name,
        "table": str(batch.table),
        "file": batch.path,
        "batch": entry.batch,
        "position": frame.position,
        "length": frame.length,
        "sha256": frame.sha256,
        "rows": frame.rows,
        "from": entry.first,
        "to": entry.last,
        "restored": batch.restored,
    }
