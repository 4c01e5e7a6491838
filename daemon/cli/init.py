"""`sereno init`: proposes a configuration for a server, and prepares its databases."""

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.cli.init_questions import Given, ask_all
from daemon.cli.options import ConfigOption, JsonOption, config_path, fail, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.context import Context
    from daemon.setup.answers import Answers
    from daemon.setup.configuration_text import Findings, Places
    from daemon.setup.logins import DatabaseLogins
    from postgres.catalog.survey import Server, SurveyedDatabase

LOCAL = "host=/run/postgresql user=postgres dbname=postgres"
USUAL_FOLDER = Path("/etc/sereno")
STATE_FOLDER = Path("/var/lib/sereno")
PATTERN_OF_PREFIX = r"[a-z_][a-z0-9_]{0,30}"
OLDEST = 140000


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

    Asks at most five questions. Deletes and archives nothing: such entries are proposals in
    comments. Exits with 3 if pg_hba.conf lets no login in with a password.
    """
    path = config_path(config).absolute()
    _require_new(path, prefix, print_only=print_only)
    server, found = _survey(admin)
    given = Given(databases, alerts, smtp, timezone, archive)
    answers = ask_all(
        given, server, found, _state_folder(path), ask=not (yes or print_only or as_json)
    )
    chosen = [one for one in found if one.name in answers.databases]
    places = _places(path)
    findings = _findings(admin, server, chosen, answers, prefix)
    _require_free_logins(findings, places, print_only=print_only)
    text = _valid_text(findings, places)
    if print_only:
        _print(text, as_json=as_json)
        return
    _write_files(path, text, answers, places)
    _prepare(path, findings, admin, as_json=as_json)


def _require_new(path: Path, prefix: str, *, print_only: bool) -> None:
    import re

    if not re.fullmatch(PATTERN_OF_PREFIX, prefix):
        fail(f"--prefix {prefix!r}: must be a-z 0-9 _, at most 31 characters", Exit.CANNOT)
    if path.exists() and not print_only:
        fail(
            f"{path} exists, and init writes a new one: nothing was changed\n"
            "  move it away, or give --config ANOTHER, or --print to see the proposal",
            Exit.CANNOT,
        )


def _survey(admin: str) -> tuple["Server", Sequence["SurveyedDatabase"]]:
    """Read the server and every database of it; exit with 2 if that is not possible."""
    import psycopg

    from daemon.cli.install import admin_hint
    from postgres.administrator import open_admin_session
    from postgres.catalog.survey import read_database, read_server
    from postgres.session import UnreachableError

    try:
        with open_admin_session(admin, "--admin") as connection:
            server = read_server(connection)
        _require_usable(server)
        found = []
        for name in server.databases:
            typer.echo(f"reading {name} …", err=True)
            with open_admin_session(admin, name, dbname=name) as connection:
                found.append(read_database(connection))
    except UnreachableError as error:
        fail(f"{error}\n  {admin_hint(str(error), admin)}", Exit.CANNOT)
    except psycopg.Error as error:
        fail(f"--admin: {error.diag.message_primary or error}; nothing was changed", Exit.CANNOT)
    return server, sorted(found, key=lambda one: (-one.bytes, one.name))


def _require_usable(server: "Server") -> None:
    if server.version < OLDEST:
        fail(f"--admin: PostgreSQL {server.version_text}; sereno needs 14 or newer", Exit.CANNOT)
    if server.standby:
        fail("--admin: the server is a standby; give its primary", Exit.CANNOT)


def _state_folder(path: Path) -> Path:
    return STATE_FOLDER if path.parent == USUAL_FOLDER else path.parent


def _places(path: Path) -> "Places":
    """Return the places of state and secrets: beside a configuration that is not the usual one."""
    from daemon.setup.configuration_text import Places

    if path.parent == USUAL_FOLDER:
        return Places("", "")
    return Places(str(path.parent / "state.db"), str(path.parent))


def _findings(
    admin: str,
    server: "Server",
    chosen: Sequence["SurveyedDatabase"],
    answers: "Answers",
    prefix: str,
) -> "Findings":
    """Choose logins and their address; exit with 3 if pg_hba.conf has no line for them."""
    import time

    from psycopg.conninfo import conninfo_to_dict

    from daemon.setup.configuration_text import Findings
    from daemon.setup.host import log_files
    from daemon.setup.logins import plan_logins

    logins = plan_logins(chosen, prefix)
    host = str(conninfo_to_dict(admin).get("host") or os.environ.get("PGHOST") or "")
    address, method = _address(server, host, logins)
    return Findings(
        server=server,
        databases=chosen,
        logins=logins,
        answers=answers,
        host=address,
        method=method,
        name=socket.gethostname()[:63] or "sereno",
        now=time.time(),
        log_files=list(log_files(server, host)),
    )


def _address(
    server: "Server", host: str, logins: "Mapping[str, DatabaseLogins]"
) -> tuple[str, str]:
    """Return the address of the logins, and the method of its rule; exit with 3 without one."""
    from daemon.setup.addresses import choose_address, groups, missing_line
    from postgres.catalog.hba import Logins

    users = {login.user for one in logins.values() for login in one.all_logins()}
    wanted = Logins(list(logins), sorted(users), groups(server))
    address = choose_address(server, host, wanted)
    if address is None:
        fail(
            "pg_hba.conf lets none of the logins in with a password. Add this line above the line "
            "that refuses them, then SELECT pg_reload_conf(), and run init again:\n"
            f"  {missing_line(server, host, wanted)}",
            Exit.WINDOW,
        )
    return address[0].host, address[1]


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
    from daemon.config.load import load_config
    from daemon.registry import JOB_NAMES
    from daemon.setup.configuration_text import configuration_text

    text = configuration_text(findings, places)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(text, "utf-8")
        load_config(path, JOB_NAMES)
    return text


def _print(text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"configuration": text, "done": False})
    else:
        typer.echo(text, nl=False)
        typer.echo("# nothing was changed", err=True)


def _write_files(path: Path, text: str, answers: "Answers", places: "Places") -> None:
    """Make the folders, the secret of Slack and the configuration; none that exists is touched."""
    from store.file_lock import match_folder_owner

    files = {path: (text, 0o644)}
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
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(file, flags, mode), "w", encoding="utf-8") as opened:
                opened.write(content)
            match_folder_owner(file)
    except OSError as error:
        fail(f"{error.filename or path}: {error.strerror}", Exit.CANNOT)
    typer.echo(f"{path}: written", err=True)


def _prepare(path: Path, findings: "Findings", admin: str, *, as_json: bool) -> None:
    """Install in each database, print the notes of `config check`, and the plan."""
    from daemon.cli.options import open_context
    from daemon.cli.plan import plan
    from daemon.config.notes import configuration_notes

    with open_context(path) as context:
        refused = _install(context, findings, admin)
        notes = list(configuration_notes(context.config))
    if as_json:
        print_json({"configuration": path.read_text("utf-8"), "done": True, "refused": refused})
        raise typer.Exit(Exit.FOUND if refused else Exit.FINE)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if refused:
        _tell_refused(refused)
    try:
        plan(jobs=None, config=path, database=None, window=None, steps=False, sql=False)
    finally:
        _show_next(path)


def _tell_refused(refused: dict[str, dict[str, str]]) -> NoReturn:
    lines = [
        f"  {database}: {user}: {reason}"
        for database, users in refused.items()
        for user, reason in users.items()
    ]
    fail("the server does not let these logins in yet:\n" + "\n".join(lines), Exit.FOUND)


def _install(context: "Context", findings: "Findings", admin: str) -> dict[str, dict[str, str]]:
    """Install in each database; return the refused logins with their reasons, by database."""
    from psycopg.conninfo import make_conninfo

    from daemon.cli.install import install_database

    refused = {}
    for one in findings.databases:
        if one.prepared:
            typer.echo(
                f"note: {one.name} has a schema sereno already; where another sereno works there, "
                "deleting is refused until `sereno trust`",
                err=True,
            )
    for server_name, logins in findings.logins.items():
        try:
            done = install_database(context, logins.name, make_conninfo(admin, dbname=server_name))
        except typer.Exit:
            typer.echo(f"then: sereno install {logins.name} --admin …; sereno plan", err=True)
            raise
        users = ", ".join(login.user for login in logins.all_logins())
        typer.echo(f"{logins.name}: schema sereno, {users}: ready", err=True)
        if done.refused:
            refused[logins.name] = dict(done.refused)
    return refused


def _show_next(path: Path) -> None:
    """Print the next three commands."""
    option = "" if path == USUAL_FOLDER / "config.toml" else f" --config {path}"
    typer.echo(
        f"""
Written: {path}. Next:
  sereno check{option}        # every check once, read-only
  sereno now daily{option}    # the jobs of a night
  sereno run{option}          # the service; systemd/README.md has its unit"""
    )
