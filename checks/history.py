"""The comparison of a look with the last one: rows that last, counters, levels, and changes."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from checks import changes, forecast, means
from checks.changes import MOST_KEPT
from checks.check import Header, OptionValues, Row
from checks.means import SHORTEST
from domain.memory import Memory

FIRST_LOOK = "first look; the next one compares with it"

ADDED_BY_GROWTH = frozenset({"per_day", "per_day_size"})
"""The columns that a row of a counter gets: its growth in a day, and the same in GB."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")

Kept = Mapping[str, Any]
"""What the next look has to know: `since`, `counters`, `levels` or `known`, by object."""


def added_columns(header: Header) -> frozenset[str]:
    """Return the columns that the comparison adds to the rows of a check."""
    added = {"": frozenset(), "day": ADDED_BY_GROWTH, "call": means.COLUMNS}[header.per]
    added |= forecast.COLUMNS if header.forecast else frozenset()
    return added | (changes.COLUMNS if header.changes else frozenset())


def compare(
    header: Header,
    rows: Sequence[Row],
    options: OptionValues,
    before: Memory | None,
    now: datetime,
) -> tuple[Sequence[Row], Kept]:
    """Return the rows that are findings compared with the last look, and what to keep.

    `lasting`: a row is one after having been found at each look for that many days. `per = "day"`:
    `value` is a counter, which becomes its growth per day; one that fell has begun anew.
    For `forecast`, `changes` and `per = "call"` see the modules forecast, changes and means.
    """
    earlier: Mapping[str, Any] = _not_after(before.evidence, now) if before is not None else {}
    if header.lasting:
        return _lasting(rows, _number(options[header.lasting]), earlier.get("since", {}), now)
    if header.per == "call":
        rows, known_means = means.compare_means(rows, options, earlier.get("means", {}), now)
        return rows, {"means": known_means}
    if header.per:
        return _growth(rows, earlier.get("counters", {}), now)
    if header.forecast:
        rows, levels = forecast.forecast(header, rows, options, earlier.get("levels", {}), now)
        return rows, {"levels": levels}
    known = earlier.get("known")
    rows, kept = changes.changes(header.changes, rows, options, known, now)
    return rows, {"known": kept}


def _not_after(value: Any, now: datetime) -> Any:  # noqa: ANN401 - the shape of JSON
    """Return the memory with instants up to now: the clock may have been ahead once."""
    if isinstance(value, Mapping):
        return {name: _not_after(one, now) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_not_after(one, now) for one in value]
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return min(datetime.fromisoformat(value), now).isoformat()
    return value


def merged(kept: Sequence[Kept]) -> Kept:
    """Return the memory of several logins as one; of two about an object the later counts."""
    found: dict[str, dict[str, Any]] = {}
    for one in kept:
        for name, objects in one.items():
            into = found.setdefault(name, {})
            for key, value in objects.items():
                into[key] = max(into.get(key, value), value, key=_last_instant)
    return found


def _last_instant(value: object) -> str:
    """Return the instant of the last sample; of anything else the empty text."""
    return str(value[-1][-1]) if isinstance(value, Sequence) and value else ""


def _lasting(
    rows: Sequence[Row], days: float, earlier: Mapping[str, str], now: datetime
) -> tuple[Sequence[Row], Kept]:
    since = {
        name: earlier.get(name, now.isoformat())
        for name in (str(row["object"]) for row in rows if not _is_unknown(row))
    }
    old = {
        name
        for name, at in since.items()
        if now - datetime.fromisoformat(at) >= timedelta(days=days)
    }
    found = [row for row in rows if _is_unknown(row) or str(row["object"]) in old]
    if any(map(_is_unknown, rows)):
        # rows were cut: what is not among them may still be so
        kept = {**earlier, **since}
        since = dict(sorted(kept.items(), key=lambda item: item[1])[:MOST_KEPT])
    return found, {"since": since}


def _growth(
    rows: Sequence[Row], earlier: Mapping[str, Sequence[Any]], now: datetime
) -> tuple[Sequence[Row], Kept]:
    counters: dict[str, Sequence[Any]] = {}
    found: list[Row] = []
    for row in rows:
        name = str(row["object"])
        if _is_unknown(row):
            found.append(row)
            if name in earlier:
                counters[name] = earlier[name]
            continue
        value = _number(row["value"])
        counters[name] = (value, now.isoformat())
        if name not in earlier or value < earlier[name][0]:
            continue
        elapsed = now - datetime.fromisoformat(earlier[name][1])
        if elapsed < SHORTEST:
            counters[name] = earlier[name]
        rate = (value - earlier[name][0]) / (max(elapsed, SHORTEST) / timedelta(days=1))
        size = f"{rate / 1e9:,.1f} GB"
        found.append({**row, "value": rate, "per_day": f"{rate:,.1f}", "per_day_size": size})
    return found, {"counters": counters}


def _is_unknown(row: Row) -> bool:
    """Return whether a row says that something was not seen, or was left out."""
    return row.get("value") is None


def _number(value: object) -> float:
    return float(str(value))
