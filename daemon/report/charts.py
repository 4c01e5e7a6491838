"""The charts of the health report, drawn in a process of its own to free its memory.

`python -m daemon.report.charts` reads figures as JSON and writes PNGs as base64 JSON. The images
hold no words, so that they fit every language, and a transparent ground, so that they fit light and
dark mails.
"""

import base64
import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LinearLocator, PercentFormatter

from domain.units import byte_unit, format_size

INK, LINE = "#7a8597", "#9aa4b2"
"""Readable on white and on the dark ground of mails."""
PALETTE = ("#4a86c5", "#e08a2e", "#4f9d69", "#8e6bbf", "#d0605d", "#3aa6a6", "#b0913a", "#7f8c9a")
WIDTH_INCHES, DOTS_PER_INCH = 4.8, 200
HEIGHT_INCHES = 2.4
LEAST_POINTS = 2
LONGEST = 34
FORECAST_DAYS = 28

Series = Mapping[str, Sequence[Sequence[float]]]


def main() -> None:
    """Draw the charts that have data."""
    asked = json.load(sys.stdin)
    drawn = {
        "growth": growth(asked["sizes"], asked["tables"]),
        "disks": disks(asked["disks"], asked["trends"]),
    }
    json.dump(
        {name: base64.b64encode(png).decode() for name, png in drawn.items() if png}, sys.stdout
    )


def growth(sizes: Series, tables: Sequence[tuple[str, float]]) -> bytes | None:
    """Draw the sizes of the largest databases over time; of tables if there is one night only."""
    shown = _drawable(sizes)
    if not shown:
        return _bars(tables) if tables else None
    length, unit = byte_unit(max(value for points in shown.values() for _, value in points))
    figure, axes = _canvas()
    for number, points in enumerate(shown.values()):
        times, values = _times(points), [value / length for _, value in points]
        axes.plot(times, values, color=_colour(number), linewidth=2)
        axes.fill_between(times, values, color=_colour(number), alpha=0.12)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit, color=INK)
    return _dated(figure, axes, list(shown))


def _bars(tables: Sequence[tuple[str, float]]) -> bytes:
    largest = sorted(tables, key=lambda table: (table[1], table[0]))
    figure, axes = _canvas(0.4 + 0.24 * len(largest))
    sizes = [size for _, size in largest]
    axes.barh(range(len(largest)), sizes, 0.62, color=PALETTE[0])
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name, _ in largest]
    axes.set_yticks(range(len(largest)), names)
    for number, size in enumerate(sizes):
        axes.text(size, number, f" {format_size(size)}", va="center", fontsize=8)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.margins(x=0.16)
    return _png(figure)


def disks(shares: Series, trends: Mapping[str, tuple[float, float]]) -> bytes | None:
    """Draw the used share of each mount, and its trend into the coming weeks with its band."""
    shown = _drawable(shares)
    if not shown:
        return None
    figure, axes = _canvas()
    for number, (name, points) in enumerate(shown.items()):
        shown_values = [value for _, value in points]
        axes.plot(_times(points), shown_values, color=_colour(number), linewidth=2)
        if name in trends:
            _forecast(axes, points[-1], trends[name], _colour(number))
    axes.axhline(1.0, color=PALETTE[4], linewidth=1, linestyle=":")
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return _dated(figure, axes, list(shown))


def _forecast(axes: Axes, last: Sequence[float], trend: Sequence[float], colour: str) -> None:
    """Draw the slope from the last value on, and two standard errors of it."""
    start, value = last
    slope, error = trend
    ahead = FORECAST_DAYS * 86400.0
    times = _times([(start, 0), (start + ahead, 0)])
    axes.plot(times, [value, value + slope * ahead], color=colour, linewidth=1.2, linestyle="--")
    low, high = value + (slope - 2 * error) * ahead, value + (slope + 2 * error) * ahead
    axes.fill_between(times, [value, low], [value, high], color=colour, alpha=0.15, linewidth=0)


def _drawable(series: Series) -> Series:
    """Return the series that have at least two values."""
    return {name: points for name, points in series.items() if len(points) >= LEAST_POINTS}


def _times(points: Sequence[Sequence[float]]) -> list[float]:
    return [float(date2num(datetime.fromtimestamp(at, UTC))) for at, _ in points]  # type: ignore[no-untyped-call]


def _canvas(height: float = HEIGHT_INCHES) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.grid(axis="y", color=LINE, linewidth=0.6, alpha=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _dated(figure: Figure, axes: Axes, names: Sequence[str]) -> bytes:
    """Finish a chart over time: dates as year, month and day, and the legend below."""
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(LinearLocator(4))
    axes.xaxis.set_major_formatter(DateFormatter("%Y-%m-%d"))  # type: ignore[no-untyped-call]
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    lines = [Line2D([], [], color=_colour(number), linewidth=2) for number in range(len(names))]
    figure.legend(
        lines,
        names,
        loc="outside lower left",
        ncols=min(len(names), 3),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=1.0,
    )
    return _png(figure)


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", transparent=True, metadata={"Software": None})
    return image.getvalue()


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


rcParams.update({"text.parse_math": False, "font.size": 9, "text.color": INK})
# a database may be called $x$

if __name__ == "__main__":
    main()
