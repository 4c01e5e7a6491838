"""The charts of the health report, drawn in a process of its own to free its memory.

`python -m daemon.report.charts` reads figures as JSON and writes PNGs as base64 JSON.
"""

import base64
import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from domain.units import byte_unit, format_size

INK, SOFT, LINE = "#1f2733", "#667085", "#e3e7ee"
PALETTE = ("#3b6ea5", "#e08a2e", "#4f9d69", "#8e6bbf", "#c0504d", "#3aa6a6", "#b0913a", "#7f8c9a")
WIDTH_INCHES, DOTS_PER_INCH = 4.8, 270
HEIGHT_INCHES = 2.7
MOST_DATABASES = 6
LEAST_POINTS = 2


def main() -> None:
    """Draw the charts that have data."""
    asked = json.load(sys.stdin)
    drawn = {"nights": nights(asked["nights"]), "growth": growth(asked["sizes"], asked["tables"])}
    json.dump(
        {name: base64.b64encode(png).decode() for name, png in drawn.items() if png}, sys.stdout
    )


def nights(seconds: Mapping[str, Mapping[str, float]]) -> bytes | None:
    """Draw each night's minutes stacked by job, for seven days."""
    if not seconds:
        return None
    last = date.fromisoformat(max(seconds))
    days = [(last - timedelta(days=back)).isoformat() for back in range(6, -1, -1)]
    jobs = sorted({job for night in seconds.values() for job in night})
    longest = max(sum(night.values()) for night in seconds.values())
    unit, name = (60.0, "minutes") if longest >= 90 else (1.0, "seconds")  # noqa: PLR2004 - a bar of 1.5 minutes
    figure, axes = _canvas(HEIGHT_INCHES)
    bottom = [0.0] * len(days)
    for number, job in enumerate(jobs):
        heights = [seconds.get(day, {}).get(job, 0.0) / unit for day in days]
        axes.bar(range(len(days)), heights, 0.62, bottom=bottom, color=_colour(number), label=job)
        bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    axes.set_xticks(range(len(days)), [f"{date.fromisoformat(day):%a %-d}" for day in days])
    axes.set_title(f"Work of each night, {name}", loc="left")
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    _legend(figure, len(jobs))
    return _png(figure)


def growth(
    sizes: Mapping[str, Sequence[Sequence[float]]], tables: Sequence[Mapping[str, Any]]
) -> bytes | None:
    """Draw database sizes over time, or the largest tables if there is one night only."""
    if any(len(points) >= LEAST_POINTS for points in sizes.values()):
        return _databases(sizes)
    if tables:
        return _tables(tables)
    return None


def _databases(sizes: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    figure, axes = _canvas(HEIGHT_INCHES)
    largest = sorted(sizes, key=lambda name: -sizes[name][-1][1])[:MOST_DATABASES]
    length, unit = byte_unit(max(value for name in largest for _, value in sizes[name]))
    for number, name in enumerate(largest):
        times = [float(date2num(datetime.fromtimestamp(at, UTC))) for at, _ in sizes[name]]  # type: ignore[no-untyped-call]
        values = [value / length for _, value in sizes[name]]
        axes.plot(
            times, values, color=_colour(number), linewidth=2, label=name, marker="o", markersize=3
        )
        axes.fill_between(times, values, color=_colour(number), alpha=0.08)
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis_date()
    axes.set_ylim(bottom=0)
    axes.set_title(f"Database sizes, {unit}", loc="left")
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    _legend(figure, len(largest))
    return _png(figure)


def _tables(tables: Sequence[Mapping[str, Any]]) -> bytes:
    largest = sorted(tables, key=lambda table: table["now"])
    figure, axes = _canvas(0.7 + 0.3 * len(largest))
    axes.barh(range(len(largest)), [table["now"] for table in largest], 0.62, color=PALETTE[0])
    axes.set_yticks(range(len(largest)), [_short(table["what"]) for table in largest])
    for number, table in enumerate(largest):
        axes.text(
            table["now"],
            number,
            f" {format_size(table['now'])}",
            va="center",
            color=SOFT,
            fontsize=8,
        )
    axes.set_xticks([])
    axes.margins(x=0.14)
    axes.set_title("Largest tables", loc="left")
    return _png(figure)


def _short(text: str) -> str:
    return text if len(text) <= 34 else f"{text[:33]}…"  # noqa: PLR2004 - what fits beside the bars


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(
        figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white"
    )
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=SOFT, length=0, labelsize=8)
    axes.set_axisbelow(True)
    return figure, axes


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _legend(figure: Figure, entries: int) -> None:
    """Draw the legend below the chart, so that the chart keeps its width on a phone."""
    figure.legend(
        loc="outside lower left",
        ncols=min(entries, 4),
        frameon=False,
        fontsize=8,
        labelcolor=SOFT,
        handlelength=1.0,
    )


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


rcParams.update(
    {
        "text.parse_math": False,  # a database may be called $x$
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlecolor": INK,
        "text.color": INK,
    }
)

if __name__ == "__main__":
    main()
