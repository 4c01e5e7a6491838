"""Values of the command line, parsed with an error that names the option."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from daemon.cli.options import fail, unknown_name
from daemon.context import Context
from daemon.exit_codes import Exit
from domain.finding import Severity
from domain.place import means
from domain.units import parse_duration
from execution.window import Window, open_window


def job_names(context: Context) -> list[str]:
    """Return the jobs that run without a request."""
    return [name for name, job in context.jobs.items() if not job.on_request]


def parse_jobs(context: Context, words: Sequence[str]) -> list[str]:
    """Return the jobs that the names of jobs and schedules stand for, each once, in order."""
    found: dict[str, None] = {}
    jobs = job_names(context)
    for word in words:
        if word in jobs:
            found[word] = None
        elif word in context.config.timetable:
            found.update(dict.fromkeys(context.config.timetable[word].jobs))
        else:
            known = [*jobs, *context.config.schedules]
            fail(unknown_name("job or schedule", word, known), Exit.CANNOT)
    return list(found)


def chosen_databases(
    context: Context, database: str | None, tags: Sequence[str] | None
) -> frozenset[str] | None:
    """Return the databases of --database and --tag; None for all.

    Exits with 2 for none, unless their group could not be asked, which is told later.
    """
    chosen = chosen_names(context, database, tags)
    if chosen is None:
        return None
    found = chosen & context.config.databases.keys()
    if not found and not context.unasked:
        fail(f"no database {_words(database, tags)} is there", Exit.CANNOT)
    return found


def chosen_names(
    context: Context, database: str | None, tags: Sequence[str] | None
) -> frozenset[str] | None:
    """Return databases, groups, and databases that are not there now; None for all."""
    if database is None and not tags:
        return None
    wanted = frozenset(tags or ())
    known = context.policy.tags
    every = frozenset[str]().union(*known.values())
    for tag in sorted(wanted - every):
        fail(unknown_name("tag", tag, sorted(every)), Exit.CANNOT)
    found = frozenset(
        name for name, one in known.items() if means(database, name) and wanted <= one
    )
    if not found:
        fail(f"there is no database {_words(database, tags)}", Exit.CANNOT)
    return found


def _words(database: str | None, tags: Sequence[str] | None) -> str:
    """Return the chosen databases as words."""
    tagged = f"with the tag {' and '.join(tags)}" if tags else ""
    return " ".join(filter(None, (f"of {database}" if database else "", tagged)))


def parse_window(text: str | None) -> Window:
    """Parse `--window`; without it the window never closes."""
    if text is None:
        return open_window(None)
    try:
        return open_window(parse_duration(text).total_seconds())
    except ValueError as error:
        fail(f"--window: {error}", Exit.CANNOT)


def parse_severity(text: str, option: str = "--fail-on") -> Severity:
    """Parse a severity."""
    try:
        return Severity(text)
    except ValueError:
        fail(f"{option}: {text!r} is not one of {', '.join(Severity)}", Exit.CANNOT)


def parse_after(now: datetime, text: str, option: str = "--for") -> datetime:
    """Parse a duration; return the instant after it."""
    try:
        return now + parse_duration(text)
    except (ValueError, OverflowError) as error:
        fail(f"{option}: {error}", Exit.CANNOT)


def parse_until(text: str, zone: str, now: datetime) -> datetime:
    """Parse `--until` in the configured zone; a time of day is its next occurrence."""
    local = ZoneInfo(zone)
    try:
        if "T" in text or " " in text:
            read = datetime.fromisoformat(text)
            found = read if read.tzinfo else read.replace(tzinfo=local)
        else:
            clock = datetime.strptime(text, "%H:%M").replace(tzinfo=UTC).time()
            found = datetime.combine(now.astimezone(local).date(), clock, local)
            if found <= now:
                found += timedelta(days=1)
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        fail(f"--until: {text!r} is not a time (like 06:30 or 2026-03-01T06:30)", Exit.CANNOT)
    if found <= now:
        fail(f"--until: {text!r} is in the past", Exit.CANNOT)
    return found
