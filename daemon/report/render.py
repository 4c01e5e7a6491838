"""Rendering of a document: HTML for mails and pages, and text; charts are embedded in a page."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from alerts.alert import Letter
from alerts.wording import RESOLVED_COLOUR, severity_colours, severity_wording
from daemon.report.document import Block, Calendar, Card, Document, Paragraph, Picture, Table
from daemon.report.language import Language
from daemon.report.layout import document
from daemon.report.report import Report
from domain.finding import Severity

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH = 78
LONGEST_CELL = 38
LEAST_FIRST = 16
LEAST_LAST = 20
CELL_COLOURS = {
    "good": RESOLVED_COLOUR,
    "left": severity_wording(Severity.WARNING).colour,
    "failed": severity_wording(Severity.CRITICAL).colour,
    "skipped": "#667085",
}


def letter(report: Report, images: Mapping[str, str], words: Language) -> Letter:
    """Return the letter in a language; `images` are base64 PNGs by name."""
    made = document(report, words)
    attention = made.severity > Severity.INFO
    overall = severity_wording(made.severity).colour if attention else RESOLVED_COLOUR
    html = _template().render(
        document=made,
        images=images,
        overall=overall,
        colours=severity_colours(),
        cells=CELL_COLOURS,
        kind=lambda block: type(block).__name__,
    )
    return Letter(as_text(made), html, dict(images))


def page(letter: Letter) -> str:
    """Return the HTML with its images embedded."""
    html = letter.html
    for name, image in letter.images.items():
        html = html.replace(f'src="cid:{name}"', f'src="data:image/png;base64,{image}"')
    return html


def as_text(made: Document) -> str:
    """Return a document as text of at most 78 columns, but for statements and long names."""
    lines = [*_wrapped(f"{made.colour.upper()}: {made.sentence}"), "", *_wrapped(made.heading)]
    for section in made.sections:
        lines += ["", "", section.title, "-" * len(section.title)]
        for number, block in enumerate(section.blocks):
            told = list(_block(block))
            if told and number and not isinstance(block, Paragraph):
                lines.append("")
            lines += told
    lines += ["", "", *(line for one in made.footer for line in _wrapped(one))]
    return "\n".join(lines) + "\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield from _wrapped(block.text)
        case Card():
            yield from _card(block)
        case Table():
            titles = [column.title for column in block.columns]
            right = [column.right for column in block.columns]
            yield from _aligned([titles, *block.rows], right)
        case Calendar():
            rows = [[job, *(cell.text or "-" for cell in cells)] for job, cells in block.rows]
            heads = [block.heading, *block.days]
            yield from _aligned([heads, *rows], [False] * len(heads))
        case Picture():
            return


def _card(card: Card) -> Iterator[str]:
    yield from _wrapped(f"{card.label.upper()}  {card.title}")
    yield f"  {card.place}  ({card.note})"
    yield from _wrapped(card.summary, "  ")
    if card.remedy:
        yield f"  -> {card.remedy}"


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterator[str]:
    """Yield the rows with aligned columns.

    A long first cell has a line of its own; a long last one goes on below it.
    """
    last = len(right) - 1
    widths = [
        min(LONGEST_CELL, max(len(row[number]) for row in rows)) for number in range(len(right))
    ]
    others = sum(widths[1:last]) + min(widths[last], LEAST_LAST) + 2 * last
    widths[0] = min(widths[0], max(LEAST_FIRST, WIDTH - others))
    for row in rows:
        cells = list(row)
        if len(cells[0]) > widths[0] and last:
            yield cells[0]
            cells[0] = ""
        line = "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells[:last], widths, right, strict=False)
        )
        yield from _ended(line, cells[last].rjust(widths[last]) if right[last] else cells[last])


def _ended(line: str, text: str) -> Iterator[str]:
    """Yield a line with its last cell, which goes on below if it is too long."""
    whole = f"{line}  {text}".rstrip() if line else text
    if len(whole) <= WIDTH:
        yield whole
        return
    yield line.rstrip()
    yield from _wrapped(text.strip(), "    ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("daemon.report") / "report.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
