"""Rendering of a report: text, HTML, and a page with embedded images."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING

from alerts.alert import Letter
from alerts.wording import RESOLVED_COLOUR, severity_colours, severity_wording
from daemon.report.report import DoneWork, Growth, Report
from domain import units
from domain.finding import Severity

if TYPE_CHECKING:
    from jinja2 import Environment

_WORSE = frozenset(severity for severity in Severity if severity > Severity.INFO)


def title(report: Report) -> str:
    """Return the subject, in the same form every week."""
    return f"health report of {report.until:%Y-%m-%d}: {report.colour}"


def letter(report: Report, images: Mapping[str, str]) -> Letter:
    """Return the letter; `images` are base64 PNGs by name."""
    attention = report.worst > Severity.INFO
    overall = severity_wording(report.worst).colour if attention else RESOLVED_COLOUR
    colours: dict[str, str] = {
        **{str(one): colour for one, colour in severity_colours().items()},
        report.colour: overall,
    }
    values = {
        "report": report,
        "images": images,
        "title": f"sereno {report.instance}: {title(report)}",
        "colours": colours,
        "worse": _WORSE,
        "zone": report.until.tzname() or "UTC",
    }
    text, html = (
        _environment().get_template(name).render(values) for name in ("report.txt", "report.html")
    )
    return Letter(text, html, dict(images))


def page(letter: Letter) -> str:
    """Return the HTML with its images embedded."""
    html = letter.html
    for name, image in letter.images.items():
        html = html.replace(f'src="cid:{name}"', f'src="data:image/png;base64,{image}"')
    return html


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    folder = resources.files("daemon.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        size=units.format_size,
        grown=_grown,
        span=units.format_seconds,
        day=_day,
        minute=_minute,
        groupby_place=_by_place,
    )
    return environment


def _grown(one: Growth) -> str:
    if one.measured > 1:
        return units.format_size_change(one.change)
    return "first measurement"


def _day(instant: datetime) -> str:
    return f"{instant:%A} {instant.day} {instant:%B}"


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _by_place(works: Sequence[DoneWork]) -> list[tuple[tuple[str, str], list[DoneWork]]]:
    return [
        (key, list(group))
        for key, group in groupby(works, key=lambda work: (work.job, work.database))
    ]
