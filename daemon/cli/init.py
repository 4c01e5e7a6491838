"""`sereno init`: proposes a configuration for a server, and prepares its databases."""

import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.init_questions import Given, ask_databases, ask_rest, confirm
from daemon.cli.init_survey import Survey, address_of_logins, survey
from daemon.cli.options import ConfigOption, JsonOption, config_path, fail, print_json
from daemon.exit_codes import Exit
from store.file_lock import write_new

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.context import Context
    from daemon.setup.answers import Answers
    from daemon.setup.configuration_text import Findings, Places

LOCAL = "host=/run/postgresql user=postgres dbname=postgres"
USUAL_FOLDER = Path("/etc/sereno")
STATE_FOLDER = Path("/var/lib/sereno")
PATTERN_OF_PREFIX = r"(?!pg)[a-z_][a-z0-9_]{0,15}"


AdminOption = Annotated[
    str, typer.Option("--admin", metavar="DSN", help="Connect as this superuser.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Take the defaults; ask nothing.")]
PrintOption = Annotated[
    bool, typer.Option("--print", help="Print the configuration; change nothing.")
]
DatabasesOption = Annotated[
    str | None, typer.Option("--databases", help="Names with commas, or all.", show_default=False)
]
AlertsOption = Annotated[
    str | None,
    typer.Option("--alerts", help="Mail addresses, URL of a Slack webhook.", show_default=False),
]
SmtpOption = Annotated[
    str | None, typer.Option("--smtp", help="The mail server.", show_default=False)
]
ZoneOption = Annotated[
    str | None, typer.Option("--timezone", help="As America/La_Paz.", show_default=False)
]
ArchiveOption = Annotated[
    str | None, typer.Option("--archive", help="Folder of archives.", show_default=False)
]
PrefixOption = Annotated[str, typer.Option("--prefix", help="Logins begin with this.")]


def init(
    admin: AdminOption = LOCAL,
    yes: YesOption = False,
    print_only: PrintOption = False,
    databases: DatabasesOption = None,
    alerts: AlertsOption = None,
    smtp: SmtpOption = None,
    timezone: ZoneOption = None,
    archive: ArchiveOption = None,
    prefix: PrefixOption = "sereno",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a server, write a configuration for it, and create schema and logins.

    Asks at most five questions, and shows the changes before making them. Deletes and archives
    nothing: such entries are proposals in comments. Exits with 3 if pg_hba.conf lets no login in
    with a password.
    """
    path = config_path(config).absolute()
    _require_new(path, prefix, print_only=print_only)
    ask = not (yes or print_only or as_json)
    found = survey(admin, databases)
    given = Given(databases, alerts, smtp, timezone, archive)
    names = ask_databases(given, found.databases, ask=ask)
    places = _places(path)
    findings = _findings(found, names, prefix)
    _require_free_logins(findings, places, print_only=print_only)
    answers = ask_rest(given, found.server, names, _state_folder(path), ask=ask)
    findings = replace(findings, answers=answers)
    text = _valid_text(findings, places)
    if print_only:
        _print(text, as_json=as_json)
        return
    if ask:
        confirm(_changes(path, findings))
    _write_files(path, text, answers, places)
    _prepare(path, findings, admin, as_json=as_json)


def _require_new(path: Path, prefix: str, *, print_only: bool) -> None:
    import re

    if not re.fullmatch(PATTERN_OF_PREFIX, prefix):
        fail(
            f"--prefix {prefix!r}: must be a-z 0-9 _, at most 16 characters, not beginning with pg",
            Exit.CANNOT,
        )
    if path.exists() and not print_only:
        fail(
            f"{path} exists, and init writes a new one: nothing was changed\n"
            "  move it away, or give --config ANOTHER, or --print to see the proposal",
            Exit.CANNOT,
        )


def _state_folder(path: Path) -> Path:
    return STATE_FOLDER if path.parent == USUAL_FOLDER else path.parent


def _places(path: Path) -> "Places":
    """Return the places of state and secrets: beside a configuration that is not the usual one."""
    from daemon.setup.configuration_text import Places

    if path.parent == USUAL_FOLDER:
        return Places("", "")
    return Places(str(path.parent / "state.db"), str(path.parent))


def _findings(found: Survey, names: Sequence[str], prefix: str) -> "Findings":
    """Choose logins and their address; exit with 3 if pg_hba.conf has no line for them."""
    import time

    from daemon.setup.answers import Answers, Receivers
    from daemon.setup.configuration_text import Findings
    from daemon.setup.host import log_files
    from daemon.setup.logins import plan_logins

    chosen = [one for one in found.databases if one.name in names]
    logins = plan_logins(chosen, prefix)
    owners = [name for one in chosen for name, is_super in one.owners.items() if not is_super]
    address, method = address_of_logins(found, logins, owners)
    reached = found.reached
    by_socket = reached.host.startswith("/")
    return Findings(
        server=found.server,
        databases=chosen,
        logins=logins,
        answers=Answers(names, Receivers(), "", "UTC", ""),
        host=address,
        port=found.server.port if by_socket else reached.port,
        options=reached.options,
        method=method,
        name=socket.gethostname()[:63] or "sereno",
        now=time.time(),
        left_out=[one.name for one in found.databases if one.name not in names],
        log_files=list(log_files(found.server, reached)),
    )


def _changes(path: Path, findings: "Findings") -> list[str]:
    """Return the changes as lines, for a person to agree to."""
    roles = sorted({one.user for all_ in findings.logins.values() for one in all_.all_logins()})
    return [
        "This will make:",
        f"  {path}, and password files for {', '.join(roles)}",
        f"  in {', '.join(findings.logins)}: the schema sereno, the extension amcheck, and",
        f"  the roles {', '.join(roles)} with their rights",
        "  (the SQL: answer n, then init --print > F and sereno install NAME --print --config F)",
    ]


def _require_free_logins(findings: "Findings", places: "Places", *, print_only: bool) -> None:
    """Exit with 2 if a login exists whose password is not here: another sereno uses it."""
    for one in findings.logins.values():
        for login in one.all_logins():
            path = _secret_path(places, login.secret)
            if login.user in findings.server.roles and not (print_only or path.exists()):
                fail(
                    f"the role {login.user} exists, and {path} does not: a sereno of another place "
                    "uses it; nothing was changed\n  give other names with --prefix, or drop the "
                    "role if nothing uses it",
                    Exit.CANNOT,
                )


def _secret_path(places: "Places", name: str) -> Path:
    from domain.secret import CREDENTIALS

    return Path(places.secrets or CREDENTIALS) / name


def _valid_text(findings: "Findings", places: "Places") -> str:
    """Return the configuration; it is loaded once, so that it is written only if it is valid."""
    from daemon.config.load import ConfigError, load_config
    from daemon.registry import JOB_NAMES
    from daemon.setup.configuration_text import configuration_text

    text = configuration_text(findings, places)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(text, "utf-8")
        try:
            load_config(path, JOB_NAMES)
        except ConfigError as error:
            told = str(error).partition("\n")[2] or str(error)
            fail(
                f"the proposed configuration is not valid; nothing was changed\n{told}", Exit.CANNOT
            )
    return text


def _print(text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"configuration": text, "done": False})
    else:
        typer.echo(text, nl=False)
        typer.echo("# nothing was changed", err=True)


def _write_files(path: Path, text: str, answers: "Answers", places: "Places") -> None:
    """Make the folders, the secret of Slack and the configuration; none that exists is touched."""
    files = {path: (text, 0o640)}
    if answers.receivers.slack:
        secret = _secret_path(places, "slack-url")
        files = {secret: (answers.receivers.slack + "\n", 0o600), **files}
    for file in files:
        if file.exists():
            fail(f"{file} exists: move it away; nothing was changed", Exit.CANNOT)
    folders = (path.parent, 0o755), (_state_folder(path), 0o700), (_secret_path(places, ""), 0o700)
    try:
        for folder, mode in folders:
            if not folder.exists():
                folder.mkdir(mode=mode, parents=True)
        for file, (content, mode) in files.items():
            write_new(file, content, mode)
    except OSError as error:
        fail(f"{error.filename or path}: {error.strerror}", Exit.CANNOT)
    typer.echo(f"{path}: written", err=True)


def _prepare(path: Path, findings: "Findings", admin: str, *, as_json: bool) -> None:
    """Install in each database, print the notes of `config check`, and the plan."""
    from daemon.cli.options import open_context
    from daemon.cli.plan import plan
    from daemon.config.notes import configuration_notes

    with open_context(path) as context:
        failed, refused = _install(context, findings, admin)
        notes = list(configuration_notes(context.config))
    if as_json:
        print_json(
            {"configuration": path.read_text("utf-8"), "done": not failed, "refused": refused}
        )
        raise typer.Exit(_code(failed, refused))
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    _tell_refused(refused)
    if failed or refused:
        _show_failed(path, failed)
        raise typer.Exit(_code(failed, refused))
    try:
        plan(jobs=None, config=path, database=None, tag=None, window=None, steps=False, sql=False)
    finally:
        _show_next(path)


def _code(failed: "Sequence[str]", refused: "Mapping[str, Mapping[str, str]]") -> Exit:
    if failed:
        return Exit.CANNOT
    return Exit.FOUND if refused else Exit.FINE


def _show_failed(path: Path, failed: "Sequence[str]") -> None:
    """Print a command for each database that could not be prepared."""
    option = _option(path)
    for name in failed:
        typer.echo(f"when that is mended: sereno install {name} --admin …{option}", err=True)
    typer.echo(f"then: sereno plan{option}", err=True)


def _tell_refused(refused: "Mapping[str, Mapping[str, str]]") -> None:
    if refused:
        typer.echo("the server does not let these logins in yet:", err=True)
    for database, users in refused.items():
        for user, reason in users.items():
            typer.echo(f"  {database}: {user}: {reason}", err=True)


def _install(
    context: "Context", findings: "Findings", admin: str
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Install in each database; return those that failed, and the refused logins by database.

    A failure in one database keeps none of the others from being prepared.
    """
    from psycopg.conninfo import make_conninfo

    from daemon.cli.install_database import install_database

    failed: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    for one in findings.databases:
        logins = findings.logins[one.name]
        if one.prepared:
            typer.echo(
                f"note: {one.name} has a schema sereno already; where another sereno works there, "
                "deleting is refused until `sereno trust`",
                err=True,
            )
        try:
            done = install_database(context, logins.name, make_conninfo(admin, dbname=one.name))
        except typer.Exit:
            failed.append(logins.name)
            continue
        users = ", ".join(login.user for login in logins.all_logins())
        typer.echo(f"{logins.name}: schema sereno, {users}: ready", err=True)
        if done.refused:
            refused[logins.name] = dict(done.refused)
    return failed, refused


def _option(path: Path) -> str:
    return "" if path == USUAL_FOLDER / "config.toml" else f" --config {path}"


def _show_next(path: Path) -> None:
    """Print the next three commands."""
    option = _option(path)
    typer.echo(
        f"""
Written: {path}. Next:
  sereno check{option}        # every check once, read-only
  sereno now daily{option}    # the jobs of a night
  sereno run{option}          # the service; systemd/README.md has its unit"""
    )
