"""The sections about work and growth of a report, in one language. Pure."""

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from daemon.report.document import (
    Block,
    Calendar,
    Cell,
    Column,
    Paragraph,
    Picture,
    Section,
    Table,
)
from daemon.report.language import Language
from daemon.report.report import Growth, Night, Proofs, Report

DAYS = 7
MOST_UNFINISHED = 15
MOST_PROOFS = 20
LONGEST_QUERY = 120
LONGEST_TEXT = 160
MOST_MOUNTS = 20
MOST_TIMES = 400
"""Due times in a week are not counted further."""


def sections(report: Report, words: Language) -> Sequence[Section]:
    """Return the sections after those about alerts."""
    made = (
        (words.text("The nights"), _nights),
        (words.text("Growth"), _growth),
        (words.text("Coverage"), _coverage),
        (words.text("Maintenance done"), _done),
        (words.text("Statements"), _statements),
        (words.text("Versions and patches"), _versions),
        (words.text("Migrations"), _migrations),
        (words.text("Alerts"), _alerts),
        (words.text("Next week"), _next),
    )
    return [Section(title, list(blocks(report, words))) for title, blocks in made]


def _nights(report: Report, words: Language) -> Iterator[Block]:
    last = report.until.date()
    days = [last - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    if not report.nights:
        yield Paragraph(words.text("No run in the last seven days."))
        return
    rows = [
        (job, [_cell(found.get(day.isoformat()), words) for day in days])
        for job, found in report.nights.items()
    ]
    yield Calendar(words.text("job"), [words.short_day(day) for day in days], rows)
    yield from _unfinished(report, words)
    if report.left:
        columns = Column(words.text("job")), Column(words.text("object"), mono=True)
        yield Paragraph(words.text("Not done in the last run:"))
        yield Table(
            [*columns, Column(words.text("why"))],
            [
                (
                    one.job,
                    " ".join(part for part in (one.database, one.object) if part),
                    _with_reason(words.text(one.status), one.reason),
                )
                for one in report.left
            ],
        )


def _cell(night: Night | None, words: Language) -> Cell:
    """Return the cell of a day: the worst of its runs."""
    if night is None or not night.runs:
        return Cell("none", "")
    if night.failed:
        failed = words.text("failed")
        return Cell("failed", failed if night.failed == 1 else f"{failed} x {night.failed}")
    if night.left:
        return Cell("left", words.count("{n} left", "{n} left", night.left))
    if night.skipped and not night.finished:
        return Cell("skipped", words.text("skipped"))
    return Cell("good", words.about(night.seconds))


def _unfinished(report: Report, words: Language) -> Iterator[Block]:
    """Yield the jobs and places whose runs did not all finish."""
    unfinished = [one for one in report.tasks if one.finished < one.runs]
    if not unfinished:
        return
    columns = (
        Column(words.text("job")),
        Column(words.text("where")),
        Column(words.text("finished"), right=True),
        Column(words.text("last")),
    )
    of = words.text("of")
    yield Table(
        columns,
        [
            (
                one.job,
                one.database or words.text("host"),
                f"{one.finished} {of} {one.runs}",
                _with_reason(words.text(one.last), one.reason),
            )
            for one in unfinished[:MOST_UNFINISHED]
        ],
    )
    if len(unfinished) > MOST_UNFINISHED:
        more = len(unfinished) - MOST_UNFINISHED
        yield Paragraph(words.count("and {n} more", "and {n} more", more), soft=True)


def _with_reason(state: str, reason: str) -> str:
    text = f"{state}: {reason}" if reason else state
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _growth(report: Report, words: Language) -> Iterator[Block]:
    if not report.databases:
        told = words.text("Nothing was measured: is disk_check in a schedule?")
        yield Paragraph(told)
    else:
        yield Picture("growth", words.text("Sizes of the databases; the numbers are below"))
        yield _sizes(words.text("database"), report.databases, words)
    if report.tables:
        is_first = all(one.measured <= 1 for one in report.tables)
        heading = (
            words.text("largest tables") if is_first else words.text("tables that grow fastest")
        )
        yield _sizes(heading, report.tables, words)
    for one in report.wal:
        size = words.size(max(one.change, 0))
        told = words.text("WAL written by the server of {name}: {size}.", name=one.what, size=size)
        yield Paragraph(told)
    if report.mounts:
        yield Picture("disks", words.text("Used share of the disks, with the forecast"))
        columns = (
            Column(words.text("disk"), mono=True),
            Column(words.text("used"), right=True),
            Column(words.text("of"), right=True),
            Column("%", right=True),
            Column(words.text("full on")),
        )
        fullest = sorted(report.mounts, key=lambda one: -one.now / (one.capacity or one.now or 1))
        yield Table(columns, [_mount(one, words) for one in fullest[:MOST_MOUNTS]])


def _sizes(heading: str, sizes: Sequence[Growth], words: Language) -> Table:
    columns = (
        Column(heading, mono=True),
        Column(words.text("now"), right=True),
        Column(words.text("change"), right=True),
    )
    first = words.text("first measurement")
    rows = [
        (one.what, words.size(one.now), words.change(one.change) if one.measured > 1 else first)
        for one in sizes
    ]
    return Table(columns, rows)


def _mount(one: Growth, words: Language) -> Sequence[str]:
    capacity = one.capacity or 0.0
    share = words.percent(one.now / capacity) if capacity else ""
    return one.what, words.size(one.now), words.size(capacity), share, _forecast(one, words)


def _forecast(one: Growth, words: Language) -> str:
    """Return the day on which a disk is full, with its band."""
    if one.full_on is None:
        return words.text("not foreseeable")
    day = words.date(one.full_on)
    if one.full_between is None:
        return day
    earliest, latest = one.full_between
    band = words.text("{first} or later", first=words.date(earliest))
    if latest is not None:
        band = _between(earliest, latest, words)
    return f"{day} ({band})"


def _between(first: date, last: date, words: Language) -> str:
    return words.text("{first} to {last}", first=words.date(first), last=words.date(last))


def _coverage(report: Report, words: Language) -> Iterator[Block]:
    if not report.proofs:
        yield Paragraph(words.text("Nothing was verified: is corruption_check in a schedule?"))
        return
    columns = (
        Column(words.text("database")),
        Column(words.text("verified")),
        Column(words.text("share"), right=True),
        Column(words.text("oldest proof"), right=True),
    )
    worst = sorted(report.proofs, key=lambda one: (one.percent, -one.oldest_days, one.database))
    yield Table(columns, [_proof(one, words) for one in worst[:MOST_PROOFS]])
    if len(worst) > MOST_PROOFS:
        more = len(worst) - MOST_PROOFS
        yield Paragraph(words.count("and {n} more", "and {n} more", more), soft=True)


def _proof(one: Proofs, words: Language) -> Sequence[str]:
    days = math.ceil(one.oldest_days)
    age = words.count("{n} day", "{n} days", days) if one.proven else ""
    of, noun = words.text("of"), words.text(one.noun)
    verified = f"{words.number(one.proven)} {of} {words.number(one.wanted)} {noun}"
    return one.database, verified, words.percent(one.percent / 100), age


def _done(report: Report, words: Language) -> Iterator[Block]:
    if not report.done:
        yield Paragraph(words.text("Nothing was due."))
        return
    columns = (
        Column(words.text("step")),
        Column(words.text("objects"), right=True),
        Column(words.text("rows"), right=True),
        Column(words.text("bytes"), right=True),
        Column(words.text("time"), right=True),
    )
    yield Table(
        columns,
        [
            (
                one.name,
                words.number(one.objects),
                words.number(one.rows) if one.rows else "",
                words.size(one.bytes) if one.bytes else "",
                words.span(one.seconds),
            )
            for one in report.done
        ],
    )
    if report.work:
        yield _work(report, words)


def _work(report: Report, words: Language) -> Table:
    """Return the objects on which work took longest."""
    columns = (
        Column(words.text("longest")),
        Column(words.text("object"), mono=True),
        Column(words.text("rows"), right=True),
        Column(words.text("time"), right=True),
    )
    rows = [
        (
            one.name if one.times == 1 else f"{one.name} x {one.times}",
            " ".join(part for part in (one.database, one.object) if part),
            words.number(one.rows) if one.rows else "",
            words.span(one.seconds),
        )
        for one in report.work
    ]
    return Table(columns, rows)


def _statements(report: Report, words: Language) -> Iterator[Block]:
    if not report.statements:
        yield Paragraph(words.text("No figures: pg_stat_statements is not installed, or new."))
        return
    columns = (
        Column(words.text("most time between the last two looks"), mono=True),
        Column(words.text("time"), right=True),
        Column(words.text("calls"), right=True),
        Column(words.text("a call"), right=True),
        Column(words.text("usually"), right=True),
    )
    yield Table(
        columns,
        [
            (
                f"{one.database} {_short(one.query)}",
                words.span(one.milliseconds / 1000),
                words.number(one.calls),
                _milliseconds(one.mean, words),
                _milliseconds(one.usual, words) if one.usual is not None else "",
            )
            for one in report.statements
        ],
    )


def _milliseconds(value: float, words: Language) -> str:
    return f"{words.number(round(value, 1))} ms"


def _short(query: str) -> str:
    return query if len(query) <= LONGEST_QUERY else f"{query[: LONGEST_QUERY - 1]}…"


def _versions(report: Report, words: Language) -> Iterator[Block]:
    servers: dict[str, list[str]] = {}
    for one in report.versions:
        servers.setdefault(one.version, []).append(one.database)
    listed = []
    for version, names in servers.items():
        shown = names[:MOST_UNFINISHED]
        more = len(names) - len(shown)
        shown += [words.count("and {n} more", "and {n} more", more)] if more else []
        listed.append(f"PostgreSQL {version} ({', '.join(shown)})")
    yield Paragraph(f"{'; '.join([*listed, f'sereno {report.sereno_version}'])}.")


def _migrations(report: Report, words: Language) -> Iterator[Block]:
    if not report.migrations:
        yield Paragraph(words.text("None is pending or in progress."))
        return
    columns = (
        Column(words.text("database")),
        Column(words.text("migration")),
        Column(words.text("state")),
    )
    yield Table(
        columns,
        [
            (
                one.database,
                f"{one.migration} {one.title}".strip(),
                " ".join(part for part in (one.phase, words.text(one.state), one.problem) if part),
            )
            for one in report.migrations
        ],
    )


def _alerts(report: Report, words: Language) -> Iterator[Block]:
    figures = report.figures
    yield Paragraph(
        words.text(
            "Opened: {opened} · acknowledged: {acknowledged} · resolved: {resolved}",
            opened=words.number(figures.opened),
            acknowledged=words.number(figures.acknowledged),
            resolved=words.number(figures.resolved),
        )
    )
    if figures.median_seconds is not None:
        told = words.text(
            "Half of the acknowledgements came within {time}.",
            time=words.span(figures.median_seconds),
        )
        yield Paragraph(told)
    ended = figures.sent + figures.dead
    if ended:
        told = words.text(
            "Messages delivered: {sent} of {all} ({share}).",
            sent=words.number(figures.sent),
            all=words.number(ended),
            share=words.percent(figures.sent / ended),
        )
        yield Paragraph(told)


def _next(report: Report, words: Language) -> Iterator[Block]:
    if not report.next:
        yield Paragraph(words.text("No schedule is configured."))
        return
    columns = (
        Column(words.text("schedule")),
        Column(words.text("next")),
        Column(words.text("times"), right=True),
        Column(words.text("usual time"), right=True),
        Column(words.text("window"), right=True),
        Column(words.text("jobs")),
    )
    yield Table(
        columns,
        [
            (
                one.schedule,
                words.minute(one.due),
                words.number(one.times) + ("+" if one.times >= MOST_TIMES else ""),
                words.span(one.usual_seconds) if one.usual_seconds else "",
                words.span(one.window_seconds),
                ", ".join(one.jobs),
            )
            for one in report.next
        ],
    )
    for one in report.next:
        if not one.fits:
            told = words.text(
                "{schedule} will not fit: it usually takes {time}, its window is {window}.",
                schedule=one.schedule,
                time=words.span(one.usual_seconds),
                window=words.span(one.window_seconds),
            )
            yield Paragraph(told)
