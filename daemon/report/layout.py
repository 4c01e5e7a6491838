"""A report as a document in one language. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from daemon.report import layout_work
from daemon.report.document import Block, Card, Column, Document, Paragraph, Section, Table
from daemon.report.language import Language
from daemon.report.report import OpenAlert, Report, ResolvedAlert, Texts
from domain.finding import Severity

MOST_CARDS = 20
MOST_INFORMATION = 8
MOST_OVER = 15
LONGEST = 300


def document(report: Report, words: Language) -> Document:
    """Return the report as a document."""
    sections = [
        Section(words.text("Needs you"), list(_needs_you(report, words))),
        Section(words.text("What changed"), list(_changes(report, words))),
        *layout_work.sections(report, words),
    ]
    return Document(
        tongue=words.name,
        title=f"sereno {report.instance}: {title(report, words)}",
        heading=f"sereno {report.instance} · {_period(report, words)}",
        sentence=sentence(report, words),
        severity=report.worst,
        colour=words.text(report.colour),
        sections=sections,
        footer=list(_footer(report, words)),
    )


def title(report: Report, words: Language) -> str:
    """Return the subject, in the same form every week."""
    return words.text(
        "health report of {day}: {colour}",
        day=f"{report.until:%Y-%m-%d}",
        colour=words.text(report.colour),
    )


def sentence(report: Report, words: Language) -> str:
    """Return the summary in one sentence."""
    needing = report.needing_attention
    idle = words.text("nothing has run since the last report; is the service running?")
    if not needing:
        if report.idle:
            return idle[:1].upper() + idle[1:]
        if any(task.finished < task.runs for task in report.tasks):
            return words.text("No alert is open; {runs}.", runs=_runs(report, words))
        return words.text(
            "All is well: {runs}, nothing needs attention.", runs=_runs(report, words)
        )
    counts = Counter(alert.severity for alert in needing)
    ranked = sorted(counts, key=lambda one: -one.rank)
    named = ", ".join(_counted(counts[one], one, words) for one in ranked)
    return words.count(
        "{n} alert needs attention ({named}); {rest}",
        "{n} alerts need attention ({named}); {rest}",
        len(needing),
        named=named,
        rest=idle if report.idle else f"{_runs(report, words)}.",
    )


def _where(one: OpenAlert | ResolvedAlert, words: Language) -> str:
    """Return the database, or the server, and the object of an alert in one line."""
    server = words.text("server of {name},", name=one.server) if one.server else ""
    parts = (one.database or server, one.object)
    return " ".join(part for part in parts if part) or words.text("this host")


def _runs(report: Report, words: Language) -> str:
    runs, finished = report.runs
    if not runs:
        return words.text("no run since the last report")
    if finished == runs:
        return words.count("{n} run, all finished", "{n} runs, all finished", runs)
    return words.count(
        "{n} run, {finished} finished", "{n} runs, {finished} finished", runs, finished=finished
    )


def _counted(count: int, severity: Severity, words: Language) -> str:
    match severity:
        case Severity.CRITICAL:
            return words.count("{n} critical", "{n} critical", count)
        case Severity.HIGH:
            return words.count("{n} high", "{n} high", count)
        case Severity.WARNING:
            return words.count("{n} warning", "{n} warnings", count)
        case _:
            return words.count("{n} info", "{n} info", count)


def _period(report: Report, words: Language) -> str:
    first, last = words.day(report.since.date()), words.day(report.until.date())
    return words.text("{first} to {last}", first=first, last=last) if first != last else last


def _needs_you(report: Report, words: Language) -> Iterator[Block]:
    for one in report.needing_attention[:MOST_CARDS]:
        yield _card(one, words)
    more = len(report.needing_attention) - MOST_CARDS
    if more > 0:
        yield Paragraph(words.count("and {n} more", "and {n} more", more) + ": sereno alerts list")
    if not report.needing_attention:
        yield Paragraph(words.text("Nothing."))
    informing = [one for one in report.alerts if one.severity == Severity.INFO]
    for one in informing[:MOST_INFORMATION]:
        yield Paragraph(_information(one, words), soft=True)
    if len(informing) > MOST_INFORMATION:
        more = len(informing) - MOST_INFORMATION
        yield Paragraph(words.count("and {n} more", "and {n} more", more), soft=True)


def _information(one: OpenAlert, words: Language) -> str:
    """Return an alert of severity info in one line."""
    texts = _texts(one, words)
    cure = f" → {_cut(texts.remedy)}" if texts.remedy else ""
    where = _where(one, words)
    return f"{texts.title}: {_cut(where)}: {_cut(texts.summary)}{cure}"


def _cut(text: str) -> str:
    """Return a text that does not make a mail too large."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _card(one: OpenAlert, words: Language) -> Card:
    texts = _texts(one, words)
    since = words.text("since {when}", when=words.minute(one.since))
    age = words.text("new") if one.new else words.text("still open")
    parts = [f"#{one.number}", f"{age}, {since}"]
    if one.worse or one.better:
        before = words.text(str(one.before))
        worse = words.text("worse, was {severity}", severity=before)
        better = words.text("better, was {severity}", severity=before)
        parts.append(worse if one.worse else better)
    if one.acknowledged_by:
        parts.append(words.text("acknowledged by {person}", person=one.acknowledged_by))
    return Card(
        severity=one.severity,
        label=words.text(str(one.severity)),
        title=texts.title,
        note=" · ".join(parts),
        place=_cut(_where(one, words)),
        summary=_cut(texts.summary),
        remedy=_cut(texts.remedy),
    )


def _texts(one: OpenAlert, words: Language) -> Texts:
    told = Texts(words.text(one.title or one.kind), one.summary, one.remedy)
    if words.name == "es" and one.es is not None:
        told = one.es
    if not one.unchecked:
        return told
    return Texts(words.text("Could not be checked ({kind})", kind=one.kind), told.summary, "")


def _changes(report: Report, words: Language) -> Iterator[Block]:
    if report.first:
        yield Paragraph(words.text("This is the first report; later ones show changes."))
        return
    needing = report.needing_attention
    gone = [one for one in report.over if one.severity > Severity.INFO]
    yield Paragraph(
        words.text(
            "New: {new} · still open: {still} · worse: {worse} · better: {better} · gone: {gone} "
            "(since {when})",
            new=words.number(sum(one.new for one in needing)),
            still=words.number(sum(not one.new for one in needing)),
            worse=words.number(sum(one.worse for one in needing)),
            better=words.number(sum(one.better for one in needing)),
            gone=words.number(len(gone)),
            when=words.minute(report.since),
        )
    )
    if gone:
        columns = Column(words.text("gone")), Column(words.text("object"), mono=True)
        yield Table(
            [*columns, Column(words.text("ended"))],
            [_over(one, words) for one in gone[:MOST_OVER]],
        )
    if len(gone) > MOST_OVER:
        more = len(gone) - MOST_OVER
        yield Paragraph(words.count("and {n} more", "and {n} more", more), soft=True)


def _over(one: ResolvedAlert, words: Language) -> Sequence[str]:
    is_spanish = words.name == "es" and one.es is not None
    told = one.es.title if is_spanish and one.es else words.text(one.title or one.kind)
    return told, _cut(_where(one, words)), words.minute(one.ended)


def _zone(report: Report) -> str:
    """Return the name of the zone, like America/La_Paz; its abbreviation is often a number."""
    key = getattr(report.until.tzinfo, "key", "")
    return str(key) or report.until.tzname() or "UTC"


def _footer(report: Report, words: Language) -> Iterator[str]:
    yield words.text("Times in {zone}.", zone=_zone(report))
    if report.figures.waiting:
        yield words.count(
            "{n} message is not delivered yet: sereno alerts outbox.",
            "{n} messages are not delivered yet: sereno alerts outbox.",
            report.figures.waiting,
        )
    if report.page:
        yield words.text("Status page: {address}", address=report.page)
    yield words.text("More: sereno status, sereno history, sereno alerts list.")
    yield words.text("This mail was sent automatically; replies are not read.")
