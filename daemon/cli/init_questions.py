"""The questions of `sereno init`, each with a default and an option that answers it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from daemon.cli.options import fail
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.setup.answers import Answers, Receivers
    from postgres.catalog.survey import Server, SurveyedDatabase

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Given:
    """The answers given as options; None for a question to ask."""

    databases: str | None
    alerts: str | None
    smtp: str | None
    timezone: str | None
    archive: str | None


def ask_databases(given: Given, found: Sequence["SurveyedDatabase"], *, ask: bool) -> Sequence[str]:
    """Return the names of the databases to maintain; by default those that have tables."""
    from daemon.setup.answers import parse_names

    known = [one.name for one in found]
    usual = [one.name for one in found if one.tables] or known
    if ask:
        _list_databases(found)
    shown = ", ".join(usual)

    def parse(text: str) -> Sequence[str]:
        # a name may hold a comma: the default is a list, not its text
        return usual if text == shown else parse_names(text, known)

    question = "Databases to maintain (names, or all)"
    return _answer(question, ("--databases", given.databases, shown), parse, ask=ask)


def ask_rest(
    given: Given, server: "Server", chosen: Sequence[str], state_folder: Path, *, ask: bool
) -> "Answers":
    """Return all answers: from the options, else by asking, else the defaults."""
    from daemon.config.values import parse_timezone
    from daemon.setup.answers import Answers, parse_folder
    from daemon.setup.host import host_timezone

    receivers, smtp = _ask_receivers(given, ask=ask)
    zone = host_timezone() or _known_zone(server.timezone)
    zones = ("--timezone", given.timezone, zone)
    timezone = _answer("Time zone of the nightly schedule", zones, parse_timezone, ask=ask)
    folder = _answer(
        "Folder for archived rows (used when you turn a proposal on)",
        ("--archive", given.archive, str(state_folder / "archive")),
        parse_folder,
        ask=ask,
    )
    return Answers(chosen, receivers, smtp, timezone, folder)


def confirm(lines: Sequence[str]) -> None:
    """Show the changes and ask whether to go on; exit with 2 if not."""
    for line in lines:
        typer.echo(line, err=True)
    try:
        goes_on = typer.confirm("Go on?", default=True, err=True)
    except typer.Abort:
        goes_on = False
    if not goes_on:
        fail("stopped; nothing was changed", Exit.CANNOT)


def _ask_receivers(given: Given, *, ask: bool) -> tuple["Receivers", str]:
    """Return where alerts go, and the mail server, which is asked for only if there is mail."""
    from daemon.setup.answers import parse_receivers, parse_smtp

    question = "Where do alerts go? Mail addresses, a Slack webhook URL, or empty for nowhere"
    receivers = _answer(question, ("--alerts", given.alerts, ""), parse_receivers, ask=ask)
    source = ("--smtp", given.smtp, "localhost")
    mailed = ask and bool(receivers.emails)
    return receivers, _answer("Mail server (host or host:port)", source, parse_smtp, ask=mailed)


def _answer(
    question: str,
    source: tuple[str, str | None, str],
    parse: Callable[[str], Value],
    *,
    ask: bool,
) -> Value:
    """Return a parsed answer; `source` is the option's name, its value, and the default."""
    option, value, default = source
    if value is not None or not ask:
        try:
            return parse(default if value is None else value)
        except ValueError as error:
            fail(f"{option}: {error}", Exit.CANNOT)
    while True:
        try:
            text = typer.prompt(question, default=default, show_default=bool(default), err=True)
        except typer.Abort:
            _no_answer(question)
        try:
            return parse(str(text))
        except ValueError as error:
            typer.echo(f"  {error}", err=True)


def _no_answer(question: str) -> NoReturn:
    fail(f"stopped at {question!r}; nothing was changed (--yes asks nothing)", Exit.CANNOT)


def _list_databases(found: Sequence["SurveyedDatabase"]) -> None:
    from domain.units import format_size

    width = max((len(one.name) for one in found), default=0)
    for one in found:
        note = "   prepared by a sereno already" if one.prepared else ""
        line = f"  {one.name:<{width}}  {len(one.tables):>6} tables  {format_size(one.bytes):>9}"
        typer.echo(f"{line}{note}", err=True)


def _known_zone(name: str) -> str:
    from daemon.config.values import parse_timezone

    with suppress(ValueError):
        return parse_timezone(name)
    return "UTC"
