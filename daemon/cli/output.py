"""Plain terminal output: aligned lines within the screen width, coloured on a terminal only."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import typer

from alerts.wording import severity_wording
from domain.finding import Severity
from store.timestamps import from_text

PROSE_WIDTH = 80
UNLIMITED = 10_000
_SHORTEST = 12
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_ESCAPES_OR_TEXT = re.compile(
    r"(?P<colour>\x1b\[[0-9;]*m)"
    r"|[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Colour codes of ours; control, line separator, direction and undecodable characters."""


def screen_width() -> int:
    """Return the number of columns; unlimited when the output is piped and COLUMNS is not set."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((PROSE_WIDTH, 24)).columns
    return UNLIMITED


def printable(text: str) -> str:
    """Return text with control and direction characters escaped; colour codes stay.

    A file or a table may have any name: an escape sequence in it would reach the terminal.
    """
    return _ESCAPES_OR_TEXT.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    if match["colour"]:
        return match["colour"]
    return match[0].encode("unicode_escape").decode("ascii")


def _echo(text: str) -> None:
    typer.echo(printable(text))


def shorten(text: str, width: int) -> str:
    """Return text cut in the middle with an ellipsis if it is wider than `width`."""
    width = max(width, _SHORTEST)
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def line(text: str = "", *, indent: int = 0) -> None:
    """Print one line, cut in the middle if it is wider than the screen."""
    _echo(" " * indent + shorten(text, screen_width() - indent) if text else "")


def fitted(left: str, middle: str, right: str = "", *, indent: int = 0) -> None:
    """Print one line whose middle, an object's name, is cut if the line does not fit."""
    room = screen_width() - indent - visible_length(left) - visible_length(right)
    _echo(" " * indent + left + shorten(middle, room) + right)


def name_or_own_line(
    left: str, name: str, right: str = "", *, indent: int = 0, hanging: int = 2
) -> None:
    """Print one line; a name that does not fit is printed whole below, indented further."""
    whole = f"{left}  {name}{right}" if name else f"{left}{right}"
    if visible_length(whole) + indent <= screen_width():
        _echo(" " * indent + whole)
        return
    _echo(" " * indent + left + right)
    prose(name, indent=indent + hanging)


def visible_length(text: str) -> int:
    """Return the length of text without its colour codes."""
    return len(_ESCAPES.sub("", text))


def prose(text: str, *, indent: int = 0, style: str = "") -> None:
    """Print text wrapped at words; a word wider than the screen stays whole."""
    width = min(screen_width(), PROSE_WIDTH) - indent
    wrapped = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    for one in wrapped:
        _echo(" " * indent + paint(one, style))


def verbatim(text: str, *, indent: int = 0) -> None:
    """Print text that has to be copied, such as SQL: neither wrapped nor cut."""
    for one in text.splitlines():
        _echo(" " * indent + one)


def paint(text: str, style: str) -> str:
    """Return text in a colour if the output is a terminal."""
    if not style or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    bold = style.startswith("bold ")
    return typer.style(text, fg=style.removeprefix("bold "), bold=bold)


def severity_label(severity: Severity) -> str:
    """Return a severity in capitals, padded and coloured."""
    return paint(f"{severity.value.upper():<8}", severity_wording(severity).style)


def columns(rows: Iterable[Sequence[object]], right: frozenset[int] = frozenset()) -> list[str]:
    """Return rows as aligned lines; the columns in `right` are right-aligned."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not texts:
        return []
    widths = [max(len(row[number]) for row in texts) for number in range(len(texts[0]))]
    return ["  ".join(_padded(row, widths, right)).rstrip() for row in texts]


def _padded(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> list[str]:
    return [
        cell.rjust(width) if number in right else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def zone_name(zone: str) -> str:
    """Return the city of a time zone, for `(times: La Paz)`."""
    return zone.rpartition("/")[2].replace("_", " ")


def local_minute(instant: datetime | str | None, zone: str, now: datetime | None = None) -> str:
    """Return an instant in a time zone to the minute; without the date if it is that of `now`."""
    if not instant:
        return ""
    moment = from_text(instant) if isinstance(instant, str) else instant
    local = moment.astimezone(ZoneInfo(zone))
    if now is not None and local.date() == now.astimezone(ZoneInfo(zone)).date():
        return f"{local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"
