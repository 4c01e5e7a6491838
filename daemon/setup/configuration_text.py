"""The configuration that `sereno init` writes: the differences from the default, with reasons.

Pure. What would delete or archive rows is a comment, until a person takes the comment signs away.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from daemon.setup.answers import Answers, is_local_mail
from daemon.setup.logins import DatabaseLogins, DataLogin, LoginName
from daemon.setup.proposals import Proposal, extension_notes, proposals
from domain.units import format_size
from postgres.catalog.survey import Server, SurveyedDatabase
from postgres.identifiers import quote_identifier

USUAL_PORT = 5432
WIDTH = 98


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the text is made of."""

    server: Server
    databases: Sequence[SurveyedDatabase]
    logins: Mapping[str, DatabaseLogins]
    answers: Answers
    host: str
    """The address of the logins."""
    port: int
    options: Mapping[str, str]
    """Further parameters of the connection, as those of encryption."""
    method: str
    """The method by which pg_hba.conf lets them in; empty if that could not be read."""
    name: str
    """The name of the new sereno."""
    now: float
    left_out: Sequence[str] = ()
    """Databases of the server that are not maintained."""
    log_files: Sequence[str] = ()
    """Comment lines about the server's log files."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files of a new sereno."""

    state: str
    """The state file; empty for the default."""
    secrets: str
    """The folder of the password files; empty for systemd credentials."""

    def secret(self, name: str) -> str:
        """Return the place of a secret as TOML."""
        if self.secrets:
            return f"{{ file = {quote(f'{self.secrets}/{name}')} }}"
        return f"{{ credential = {quote(name)} }}"


def configuration_text(findings: Findings, places: Places) -> str:
    """Return the TOML text."""
    version = findings.server.version_text.partition(" ")[0]
    lines = [
        f"# Written by `sereno init` from what PostgreSQL {version} at {findings.host} holds.",
        "# Only what differs from the default; `sereno config reference` prints every option.",
        "",
        *_daemon(findings, places),
        "",
        *_server_notes(findings),
    ]
    for database in findings.databases:
        lines += ["", *_database(database, findings, places)]
    lines += ["", _SCHEDULES, "", *_channels(findings.answers, places)]
    for database in findings.databases:
        lines += _proposals(database, findings, places)
    lines += findings.log_files
    return "\n".join(lines) + "\n"


_SCHEDULES = """\
# Every night and every week; what does not fit into the window goes on in the next one.
[schedules.daily]
cron = "0 2 * * *"
window = "2h"
jobs = [
  "log_cleanup", "analyze", "disk_check", "integrity_check", "corruption_check", "self_cleanup",
]

[schedules.weekly]
cron = "0 3 * * sun"
window = "4h"
jobs = ["archive", "vacuum", "security_patches", "health_report"]"""


def quote(text: str) -> str:
    """Return a text as a TOML string: literal where that is possible, else basic."""
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def comment(text: str) -> Iterator[str]:
    """Yield a text as comment lines, broken at spaces; signs that TOML forbids are spelled out."""
    line = "#"
    printable = (one if one.isprintable() else ascii(one)[1:-1] for one in " ".join(text.split()))
    for word in "".join(printable).split(" "):
        if len(line) + 1 + len(word) > WIDTH and line != "#":
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _daemon(findings: Findings, places: Places) -> Iterator[str]:
    yield "[daemon]"
    yield f"name = {quote(findings.name)}"
    yield f"timezone = {quote(findings.answers.timezone)}"
    if places.state:
        yield f"state = {quote(places.state)}"


def _database(database: SurveyedDatabase, findings: Findings, places: Places) -> Iterator[str]:
    logins = findings.logins[database.name]
    owners = ", ".join(map(quote_identifier, sorted(database.owners))) or "nobody yet"
    yield from comment(
        f"{quote_identifier(database.name)}: {len(database.tables)} tables, "
        f"{format_size(database.bytes)}, owned by {owners}."
    )
    yield f"[databases.{logins.name}]"
    yield f"dsn = {quote(_dsn(database.name, findings))}"
    yield f"maintain = {_login(logins.maintain, places)}"
    if len(logins.data) == 1:
        yield f"data = {_login(logins.data[0].login, places)}"
        return
    yield from comment("Owners that do not trust each other have logins of their own.")
    for one in logins.data:
        yield from _domain(logins.name, one, places)


def _domain(database: str, one: DataLogin, places: Places) -> Iterator[str]:
    yield f"[databases.{database}.domains.{one.domain}]"
    yield f"owners = [{', '.join(map(quote, one.owners))}]"
    yield f"data = {_login(one.login, places)}"


def _server_notes(findings: Findings) -> Iterator[str]:
    """Yield notes about several databases: the method of the logins, and missing extensions."""
    yield from _method_note(findings)
    missing: dict[str, list[str]] = {}
    for database in findings.databases:
        for note in extension_notes(database, findings.server):
            missing.setdefault(note, []).append(quote_identifier(database.name))
    if findings.left_out:
        left_out = ", ".join(map(quote_identifier, findings.left_out))
        yield from comment(f"Not maintained: {left_out}.")
    for note, names in missing.items():
        places = "in every database" if len(names) == len(findings.databases) else ", ".join(names)
        yield from comment(f"Missing ({places}): {note}.")


def _method_note(findings: Findings) -> Iterator[str]:
    if findings.method == "trust":
        yield from comment(
            f"pg_hba.conf asks for no password at {findings.host} (trust): anybody on the machine "
            "may connect as anybody."
        )
    elif findings.method:
        yield from comment(f"pg_hba.conf takes a password at {findings.host} ({findings.method}).")


def _dsn(database: str, findings: Findings) -> str:
    port = None if findings.port == USUAL_PORT else findings.port
    parts = {"host": findings.host, "port": port, "dbname": database}
    return make_conninfo("", **parts, **findings.options)


def _login(login: LoginName, places: Places) -> str:
    return f"{{ user = {quote(login.user)}, password = {places.secret(login.secret)} }}"


def _channels(answers: Answers, places: Places) -> Iterator[str]:
    """Yield the channels and routes."""
    receivers, names = answers.receivers, []
    if receivers.emails:
        names.append("email")
        yield from _email(answers)
    if receivers.slack:
        names.append("slack")
        yield from ("[channels.slack]", 'type = "slack"', f"url = {places.secret('slack-url')}", "")
    if receivers.webhook:
        names.append("ticket")
        yield from (
            "[channels.ticket]",
            'type = "webhook"',
            f"url = {quote(receivers.webhook)}",
            "",
        )
    if not names:
        yield from comment("No channel: alerts are stored and nobody is notified. For example:")
        yield from ("#[channels.email]", '#type = "email"', '#host = "smtp.example.org"')
        yield '#to = ["guardia@example.org"]'
        names, sign = ["email"], "#"
    else:
        sign = ""
    listed = ", ".join(map(quote, names))
    yield f"{sign}[routes]"
    for severity in ("warning", "high", "critical"):
        yield f"{sign}{severity} = [{listed}]"


def _email(answers: Answers) -> Iterator[str]:
    host, _, port = answers.smtp.partition(":")
    yield "[channels.email]"
    yield 'type = "email"'
    yield f"host = {quote(host)}"
    if port:
        yield f"port = {port}"
    yield f"to = [{', '.join(map(quote, answers.receivers.emails))}]"
    if is_local_mail(answers.smtp):
        yield 'tls = "none"    # a mail server of this machine'
    else:
        yield '# If it wants a login: user = "sereno", password = { credential = "smtp" }'
    yield ""


def _proposals(database: SurveyedDatabase, findings: Findings, places: Places) -> Iterator[str]:
    made, refused, left_out = proposals(database, findings.now)
    name = findings.logins[database.name].name
    if made:
        yield ""
        yield from comment(
            f"Proposals for {quote_identifier(database.name)}: nothing is deleted or archived "
            "until the # in front of an entry's lines is taken away. How long rows have to be kept "
            f"is your decision. Afterwards: sereno install {name} --admin …; sereno plan"
        )
    for one in made:
        yield "#"
        yield from _proposal(one, findings.logins[database.name], findings.answers.archive, places)
    if left_out:
        yield from comment(f"And {left_out} smaller ones.")
    for reason in refused:
        yield "#"
        yield from comment(f"No proposal: {reason}.")


def _proposal(one: Proposal, logins: DatabaseLogins, archive: str, places: Places) -> Iterator[str]:
    age = "keep" if one.job == "log_cleanup" else "older_than"
    yield from comment(f"{one.reason}.")
    if one.partitions:
        section, login = logins.owner_login(one.owner)
        yield from comment(f"Whole partitions leave, which needs this line below [{section}]:")
        yield f"#   owner = {_login(login, places)}"
    yield f"#[[jobs.{one.job}.tables]]"
    yield f"#table = {quote(str(one.table))}"
    yield f"#column = {quote(quote_identifier(one.column))}"
    yield f'#{age} = "{one.days} days"'
    if one.children:
        yield f"#children = [{', '.join(quote(str(child)) for child in one.children)}]"
    if one.job == "archive":
        yield f"#to = {quote(f'file://{archive}')}"
    if one.partitions:
        yield f'#partitions = "{one.partitions}"'
    yield f"#database = {quote(logins.name)}"
