"""`sereno archive`: lists, verifies and restores archived rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.command_group import CommandGroup
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
    from postgres.identifiers import Relation
    from postgres.session import Session
    from retention.archive.ledger import LedgeredBatch
    from retention.archive.restore import Conflict
    from retention.archive.verify import Loader

STATEMENT_SECONDS = 12 * 3600.0
"""A batch is restored as a whole, however slow the table's triggers are."""

app = typer.Typer(
    cls=CommandGroup,
    help="List, verify and restore archived rows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_batches(
    config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """List the archive files and their contents."""
    with open_context(config, database) as context:
        from retention.archive import ledger

        found: list[tuple[str, LedgeredBatch]] = []
        moved: list[str] = []
        for name in _databases(context, database):
            with _opened(context, name) as session:
                found += [(name, batch) for batch in _batches(session)]
                moved += [f"{name}: {line}" for line in ledger.moved_batches(session)]
                moved += [f"{name}: {line}" for line in ledger.untrusted_batches(session)]
        if as_json:
            print_json([_as_row(name, batch) for name, batch in found])
        else:
            _show_files(found, moved)


def _show_files(found: "Sequence[tuple[str, LedgeredBatch]]", moved: Sequence[str]) -> None:
    from daemon.cli.output import counted, line, prose
    from domain.units import format_size

    files: dict[tuple[str, str, str], list[LedgeredBatch]] = {}
    for name, batch in found:
        files.setdefault((name, str(batch.table), batch.path), []).append(batch)
    for (name, table, path), batches in files.items():
        rows = sum(batch.entry.frame.rows for batch in batches)
        size = format_size(sum(batch.entry.frame.length for batch in batches))
        first = min(batch.entry.first for batch in batches)
        last = max(batch.entry.last for batch in batches)
        restored = sum(batch.restored for batch in batches)
        again = ""
        if restored:
            again = f", {restored} restored"
        amount = f"{counted(rows, 'row')} in {counted(len(batches), 'batch', 'batches')}, {size}"
        line(f"{name}  {table}  {amount}{again}")
        line(f"{first} to {last}", indent=4)
        line(path, indent=4)
    for text in moved:
        prose(text)
    if not found and not moved:
        line("nothing was archived yet")


@app.command()
def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also load every batch into a scratch table.")
    ] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every file and compare it with the ledger; exits with 1 if one is damaged."""
    with open_context(config, database) as context:
        from retention.archive import verify as verification

        results = []
        for name in _databases(context, database):
            with _opened(context, name) as session, ExitStack() as stack:
                _require_ledger(session)
                loader = _loader(context, session, stack) if deep else None
                results.append((name, verification.verify(session, loader=loader)))
        faults = [
            {"database": name, "file": fault.file, "what": fault.what}
            for name, result in results
            for fault in result.faults
        ]
        keys = ("files", "batches", "rows", "bytes")
        totals: list[dict[str, Any]] = [
            {"database": name, **{key: getattr(result, key) for key in keys}}
            for name, result in results
        ]
        if as_json:
            print_json({"verified": totals, "faults": faults})
        else:
            _show_verified(totals, faults)
        if faults:
            raise typer.Exit(Exit.FOUND)


def _show_verified(totals: Sequence[dict[str, Any]], faults: Sequence[dict[str, str]]) -> None:
    from daemon.cli.output import counted, printable
    from domain.units import format_size

    for one in totals:
        batches = counted(one["batches"], "batch", "batches")
        amount = f"{counted(one['files'], 'file')}, {batches}, {counted(one['rows'], 'row')}"
        typer.echo(f"{one['database']}: {amount}, {format_size(one['bytes'])} verified")
    for fault in faults:
        typer.echo(printable(f"{fault['database']}: {fault['file']}: {fault['what']}"), err=True)


TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="The table, as in SQL, with its schema.")
]
AdminOption = Annotated[
    str, typer.Option("--admin", metavar="DSN", help="A DSN that may insert into the table.")
]
BatchOption = Annotated[
    list[str] | None,
    typer.Option("--batch", metavar="ID", help="Only this batch; may be repeated."),
]
PrivilegedOption = Annotated[
    bool,
    typer.Option(
        "--privileged",
        help="Allow restoring as superuser; the table's triggers run with superuser rights.",
    ),
]


@app.command()
def restore(
    table: TableArgument,
    database: Annotated[str, typer.Option("--database", help="The database of the table.")],
    admin: AdminOption,
    batch: BatchOption = None,
    privileged: PrivilegedOption = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Skip rows whose key exists already.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore archived rows, each batch once. The files are kept."""
    with open_context(config, database) as context:
        from retention.archive.restore import children_left, sequences_behind

        with _opened(context, database, admin) as session:
            _require_same_database(context, database, session)
            batches = _of_table(session, table, batch or ())
            if not privileged:
                _require_one_domain(session, table)
            pending = [one for one in batches if not one.restored]
            rows = sum(one.entry.frame.rows for one in pending)
            if pending and not yes:
                amount = f"{rows} rows of {len(pending)} batches"
                typer.confirm(f"Restore {amount} to {table}?", abort=True)
            done = list(_restored(session, pending, "skip" if skip else "error"))
            behind = sequences_behind(session, batches[0].table)
            children = children_left(session, batches[0].table, _batches(session))
        earlier = len(batches) - len(pending)
        if as_json:
            answer = {"table": table, "restored": done, "restored_earlier": earlier}
            print_json({**answer, "sequences_behind": behind, "children_left": children})
        else:
            _show_restored(table, done, earlier)
            for line in (*behind, *children):
                typer.echo(line)


def _show_restored(table: str, done: "Sequence[Mapping[str, object]]", earlier: int) -> None:
    restored = sum(int(str(one["rows"])) for one in done)
    present = sum(int(str(one["already_present"])) for one in done)
    before = f"{earlier} batches were restored earlier"
    typer.echo(f"{table}: {restored} rows restored, {present} already present; {before}")


def _of_table(session: "Session", text: str, only: Collection[str]) -> "list[LedgeredBatch]":
    from postgres.identifiers import parse_relation

    try:
        table = parse_relation(text)
    except ValueError as error:
        fail(str(error), Exit.CANNOT)
    every = _batches(session)
    batches = [one for one in every if one.table == table]
    if not batches:
        hint = _nearest_table(text, {str(one.table) for one in every})
        fail(f"the archive holds no such rows of {table}; {hint}", Exit.CANNOT)
    unknown = set(only) - {one.entry.batch for one in batches}
    if unknown:
        fail(f"{table} has no batch {min(unknown)}; see: sereno archive list", Exit.CANNOT)
    return [one for one in batches if not only or one.entry.batch in only]


def _nearest_table(text: str, known: Collection[str]) -> str:
    """Return the table that differs only in case and quotes, as a hint."""
    plain = text.replace('"', "").lower()
    nearest = [name for name in sorted(known) if name.replace('"', "").lower() == plain]
    return f"did you mean '{nearest[0]}'?" if nearest else "see: sereno archive list"


def _restored(
    session: "Session", pending: "Sequence[LedgeredBatch]", conflict: "Conflict"
) -> Iterator[dict[str, object]]:
    from retention.archive.restore import RestoreError, restore

    for number, one in enumerate(pending, 1):
        try:
            result = restore(session, one, conflict)
        except (RestoreError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            where = f"{one.path}, batch {one.entry.batch}: {reason}"
            fail(f"{where}; {number - 1} batches were restored", Exit.CANNOT)
        typer.echo(f"batch {number} of {len(pending)}", err=True)
        if result is not None:
            yield {
                "batch": one.entry.batch,
                "rows": result.rows,
                "already_present": result.already_present,
            }


def _databases(context: "Context", only: str | None) -> list[str]:
    from domain.place import means

    return [name for name in context.config.databases if means(only, name)]


@contextmanager
def _opened(context: "Context", name: str, admin: str = "") -> "Iterator[Session]":
    from dataclasses import replace

    from postgres.session import MAINTAIN, open_session

    target = context.target(name)
    if admin:
        target = replace(target, conninfo=admin, logins={})
    with open_session(target, MAINTAIN, "archive") as opened:
        opened.set_timeouts(STATEMENT_SECONDS)
        yield opened


def _require_ledger(session: "Session") -> None:
    """Exit unless the ledger exists: without it nothing would be seen, and nothing seem wrong."""
    from jobs.archive import NO_LEDGER
    from postgres.fencing.ownership import is_installed_table
    from retention.archive import ledger

    if not is_installed_table(session, ledger.TABLE):
        fail(NO_LEDGER.format(session.target.name), Exit.CANNOT)


def _batches(session: "Session") -> "list[LedgeredBatch]":
    from retention.archive import ledger

    _require_ledger(session)
    return ledger.all_batches(session)


def _loader(context: "Context", session: "Session", stack: ExitStack) -> "Loader":
    """Return the sessions that load batches: it runs code of the column types of their tables."""
    from postgres.fencing import delete_permission
    from postgres.fencing.trust_domain import read_trust_domain, table_owners
    from postgres.session import Login, open_session

    target = session.target
    logins = [login for login in target.logins if login.kind == "data"] or [Login("data")]
    opened = [stack.enter_context(open_session(target, one, "archive")) for one in sorted(logins)]
    domains = []
    for one in opened:
        domain = read_trust_domain(one)
        instance = context.store.instance()
        if reason := domain.wrong or delete_permission.refusal_reason(one, instance, domain):
            fail(f"--deep: {reason}", Exit.CANNOT)
        one.set_timeouts(STATEMENT_SECONDS)
        domains.append((one, domain))

    def load(table: "Relation") -> "Session | str":
        owners = table_owners(session, table)
        if not owners:
            return f"its table {table} no longer exists"
        for one, domain in domains:
            if owners <= domain.owners:
                return one
        return f"its table {table} is in no trust domain"

    return load


def _require_same_database(context: "Context", name: str, session: "Session") -> None:
    """Exit unless the administrator is connected to the configured database."""
    from daemon.history import history

    with context.store.reading() as transaction:
        known = history.known_server(transaction, name)
    facts = session.facts
    here = (facts.system_identifier, facts.database_oid)
    if known is not None and (known.system_identifier, known.database_oid) != here:
        fail(
            f"--admin connects to the database {facts.database}, which is not that of "
            f"databases.{name}; nothing was restored",
            Exit.CANNOT,
        )


def _require_one_domain(session: "Session", table: str) -> None:
    """Exit if a role reaches beyond the trust domain: triggers would run with its rights."""
    from postgres.fencing.trust_domain import outside_domain, read_trust_domain, table_owners
    from postgres.identifiers import parse_relation
    from retention.archive.restore import PRIVILEGED
    from retention.rows.dependents import receiving_reason

    if session.superuser():
        fail(PRIVILEGED.format(table=table), Exit.CANNOT)
    domain, relation = read_trust_domain(session), parse_relation(table)
    cure = "connect as a role of the table's own domain (or, where you know them all, --privileged)"
    if domain.wrong:
        fail(f"{domain.wrong}\n  {cure}", Exit.CANNOT)
    if beyond := table_owners(session, relation) - domain.owners:
        fail(f"{table}: {outside_domain(session, domain, min(beyond))}\n  {cure}", Exit.CANNOT)
    if wrong := receiving_reason(session, relation, domain.owners):
        fail(f"{table}: {wrong}\n  {cure}", Exit.CANNOT)


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
