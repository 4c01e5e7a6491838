"""The list of the checks, and one check explained: for `sereno check --list` and `--explain`."""

from typing import TYPE_CHECKING, Any

from checks.registry import PAIRED
from daemon.cli.output import columns, line, name_or_own_line, prose, verbatim

if TYPE_CHECKING:
    from checks.check import Check, Header
    from daemon.context import Context


def check_rows(context: "Context") -> list[dict[str, Any]]:
    """Return every check as a JSON object, with the options in force."""
    excluded = set(context.config.job("integrity_check").exclude)
    return [
        {
            "check": name,
            "scope": check.header.scope,
            "title": check.header.title,
            "excluded": name in excluded,
            "options": dict(context.config.checks[name].values),
            "ignore": [one.model_dump(mode="json") for one in context.config.checks[name].ignore],
        }
        for name, check in sorted(context.checks.items())
    ]


def print_checks(context: "Context") -> None:
    """Print the checks, one line each; a title that does not fit is below its name."""
    rows = check_rows(context)
    heads = columns([(row["check"], row["scope"].ljust(8)) for row in rows])
    for head, row in zip(heads, rows, strict=True):
        name_or_own_line(head, row["title"] + (" (excluded)" if row["excluded"] else ""))
    line("One check: sereno check --explain NAME")


def print_explanation(context: "Context", name: str) -> None:
    """Print what a check asks, with which options, and what its finding says to do."""
    check = context.checks[name]
    header = check.header
    line(f"{name} ({header.scope}, reads {header.reads}, {header.cost})")
    prose(header.title, indent=2)
    if header.es:
        prose(header.es.get("title", ""), indent=2)
    for option, value in context.config.checks[name].values.items():
        help_text = header.options[option].help if option in header.options else ""
        prose(f"{option} = {value}" + (f"   {help_text}" if help_text else ""), indent=2)
    for ignored in context.config.checks[name].ignore:
        prose(f"ignored until {ignored.until}: {ignored.object} ({ignored.reason})", indent=2)
    for label, text in (
        ("needs", ", ".join(header.needs)),
        ("compared with earlier looks", _comparison(header)),
        ("remedy", header.remedy),
        ("source", header.source),
    ):
        if text:
            prose(f"{label}: {text}", indent=2)
    verbatim(query_of(context, check), indent=4)


def _comparison(header: "Header") -> str:
    """Return what of a look is compared with earlier ones, or the empty text."""
    parts = (
        (header.lasting, f"a row is a finding after {header.lasting} of nightly looks"),
        (header.per, f"a counter, by its growth per {header.per}"),
        (header.changes, f"what is {' or '.join(header.changes)}"),
        (header.forecast, "a level, by the days left until its limit"),
    )
    return "; ".join(text for used, text in parts if used)


def query_of(context: "Context", check: "Check") -> str:
    """Return the query as it would run in the first database, or why it cannot be shown."""
    from jobs.integrity_check import options_in
    from postgres.session import MAINTAIN, TargetError, open_session

    name = next(iter(context.config.databases), None)
    if name is None:
        return "-- no database is known yet"
    options = options_in(context.config.checks[check.header.name], name, context.clock().date())
    if check.header.name in PAIRED or check.header.scope == "host":
        return check.question(None, options)
    try:
        with open_session(context.target(name), MAINTAIN, "check", read_only=True) as session:
            return check.question(session, options)
    except TargetError as error:
        return f"-- {error}"
