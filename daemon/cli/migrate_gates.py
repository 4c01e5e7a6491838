"""The commands of `sereno migrate` about gates: approvals, waivers, evidence and its key."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.migrate_options import (
    AsOption,
    IdArgument,
    database_of,
    opened,
    principal_of,
)
from daemon.cli.options import ConfigOption, DatabaseOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit

NoteOption = Annotated[str, typer.Option("--note", help="What was done, where it is written.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("approve")(approve)
    app.command("waive")(waive)
    app.command("evidence")(evidence)
    app.command("new-key")(new_key)


def approve(
    migration: IdArgument,
    gate: Annotated[
        str, typer.Option("--gate", metavar="GATE", help="Default: the next approval.")
    ] = "",
    note: NoteOption = "",
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a phase, or attest a condition of a gate; sereno migrate plan lists the gates.

    Another person than the approver has to apply it.
    """
    _decide(migration, gate, note, (principal, database, config), waives=False, as_json=as_json)


def waive(
    migration: IdArgument,
    gate: Annotated[str, typer.Argument(metavar="GATE", help="A gate, like cleanup.soak.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it may be passed.")],
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pass a closed gate without its evidence; this is recorded, counted, and an alert."""
    _decide(migration, gate, reason, (principal, database, config), waives=True, as_json=as_json)


def _decide(
    migration: str,
    gate: str,
    note: str,
    place: tuple[str, str | None, Path | None],
    *,
    waives: bool,
    as_json: bool,
) -> None:
    principal, database, config = place
    with opened(config) as context:
        from daemon.migrating.decisions import Decision, record_decision
        from daemon.migrating.state_copy import copy_if_possible

        name = database_of(context, database)
        who = principal_of(context, principal, "approve")
        found = record_decision(context, name, migration, Decision(gate, who, note, waives))
        copy_if_possible(context, name)
        decided = "waived" if waives else "approved"
        if as_json:
            print_json({"gate": found.name, "decision": decided, "by": who})
        else:
            typer.echo(f"{found.name}: {decided} by {who}")
        if waives:
            from daemon.cli.now import deliver

            deliver(context, as_json=as_json)


def evidence(
    migration: IdArgument,
    sign: Annotated[
        bool,
        typer.Option(
            "--sign", help="Signed, with the phases applied here: for the next environment."
        ),
    ] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the evidence of the last rehearsal as JSON.

    Save the output of --sign as evidence.ENVIRONMENT.json beside the files of the migration.
    """
    with opened(config) as context:
        import json

        from daemon.history import requests
        from daemon.migrating.signing import signed_evidence
        from migrations.evidence import EvidenceError

        if sign:
            try:
                print_json(signed_evidence(context, database_of(context, database), migration))
            except EvidenceError as error:
                fail(str(error), Exit.CANNOT)
            return
        with context.store.reading() as transaction:
            row = requests.last_evidence(transaction, migration)
        if row is None:
            fail(f"{migration} was not rehearsed: sereno migrate rehearse {migration}", Exit.CANNOT)
        print_json(json.loads(row["evidence"]))


def new_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key, made with 0600.")],
) -> None:
    """Make the key that signs the evidence of this environment; print its public key."""
    import os

    from migrations.evidence import make_key

    private, public = make_key()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as made:
            made.write(private + "\n")
    except OSError as error:
        fail(f"{file}: {error.strerror}; nothing was overwritten", Exit.CANNOT)
    typer.echo(f"{file}: made; here, in [migrations]:")
    typer.echo(f'  signing_key = {{ file = "{file.absolute()}" }}')
    typer.echo("in the next environment, in [migrations.rungs.NAME] with this one's name:")
    typer.echo(f'  public_key = "{public}"')
