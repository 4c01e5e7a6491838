"""The mean time of a call since the last look, compared with that of the last weeks."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from checks.check import OptionValues, Row

KNOWN_DAYS = timedelta(days=7)
"""A younger mean is not compared with."""
WEEKS = timedelta(days=28)
"""The mean follows the last four weeks."""
SHORTEST = timedelta(hours=1)
"""A counter is compared with one at least this old: a rate of minutes says nothing about a day."""
LEAST_CALLS = 100
LEAST_SHARE = 0.01
"""A statement with less of the time of all is not worth a look."""
MOST_SHOWN = 10
SEEN = "seen"
LOOK = "look"
"""The key of the calls and time of the heaviest statements between the last two looks."""
COLUMNS = frozenset({"now", "usual", "share"})
"""The columns that a row gets: both means in milliseconds, and its share of the time."""

Known = Mapping[str, Any]
"""What is known of an object: its counters at an instant, and its mean since another."""


def compare_means(
    rows: Sequence[Row], options: OptionValues, earlier: Mapping[str, Known], now: datetime
) -> tuple[Sequence[Row], Mapping[str, Known]]:
    """Return the rows whose calls have become slower, and what the next look has to know.

    A row has the counters `calls` and `value` (milliseconds); counters that were reset begin anew.
    A row is found from the options `warning` (times its mean) and `least_ms` on.
    """
    seen = {str(row["object"]): row for row in rows if row.get("value") is not None}
    grown = {name: _growth(row, earlier.get(name), now) for name, row in seen.items()}
    whole = sum(max(total, 0.0) for _, total in grown.values())
    known: dict[str, Known] = {}
    found: list[Row] = [row for row in rows if row.get("value") is None]
    for name, row in seen.items():
        before, (calls, total) = earlier.get(name), grown[name]
        if before is None or not _is_enough(calls, total):
            known[name] = _waiting(row, before, now)
            continue
        mean = total / calls
        if _is_slower(mean, before, options, now) and total >= LEAST_SHARE * whole:
            base = before["mean"]
            texts = {
                "now": f"{mean:,.1f}",
                "usual": f"{base:,.1f}",
                "share": f"{total / whole:.0%}",
            }
            found.append({**row, "value": mean / base, **texts})
        known[name] = _followed(row, before, mean, now)
    return found, _with_looks(known, seen, earlier, now)


def _with_looks(
    known: Mapping[str, Known],
    seen: Mapping[str, Row],
    earlier: Mapping[str, Known],
    now: datetime,
) -> Mapping[str, Known]:
    """Return the known counters, each with its last look; the heaviest ones carry their growth.

    The health report shows them. A look within the hour changes nothing of it.
    """
    kept = {
        name: {**{key: one[key] for key in one if key != LOOK}, **_look(seen[name], earlier, now)}
        for name, one in known.items()
    }
    spent = {name: one[LOOK]["ms"] for name, one in kept.items() if LOOK in one}
    for name in sorted(spent, key=lambda name: -spent[name])[MOST_SHOWN:]:
        del kept[name][LOOK]
    return kept


def _look(row: Row, earlier: Mapping[str, Known], now: datetime) -> Known:
    """Return the counters of this look, and their growth since the last one, if there is any."""
    before = earlier.get(str(row["object"]), {})
    last = before.get(SEEN)
    if last is not None and now - datetime.fromisoformat(last["at"]) < SHORTEST:
        return {key: before[key] for key in (SEEN, LOOK) if key in before}
    counters = {"calls": _number(row["calls"]), "total": _number(row["value"])}
    found: dict[str, Any] = {SEEN: {**counters, "at": now.isoformat()}}
    calls, spent = (counters[key] - last[key] if last else 0.0 for key in counters)
    if calls > 0 and spent > 0:
        query, usual = str(row.get("query") or ""), before.get("mean")
        found[LOOK] = {"calls": calls, "ms": spent, "query": query, "usual": usual}
    return found


def _growth(row: Row, before: Known | None, now: datetime) -> tuple[float, float]:
    """Return the calls since the last look and their milliseconds; negative after a reset."""
    if before is None or now - datetime.fromisoformat(before["at"]) < SHORTEST:
        return 0.0, 0.0
    calls = _number(row["calls"]) - before["calls"]
    total = _number(row["value"]) - before["total"]
    return calls, total


def _is_enough(calls: float, total: float) -> bool:
    return calls >= LEAST_CALLS and total >= 0


def _waiting(row: Row, before: Known | None, now: datetime) -> Known:
    """Return the counters as before while they have not grown enough; else they begin here."""
    goes_on = before is not None and _number(row["calls"]) >= before["calls"]
    return before if before is not None and goes_on else _begun(row, before, now)


def _is_slower(mean: float, before: Known, options: OptionValues, now: datetime) -> bool:
    if before["mean"] is None or now - datetime.fromisoformat(before["since"]) < KNOWN_DAYS:
        return False
    is_felt = mean >= _number(options["least_ms"])
    return bool(is_felt and mean >= _number(options["warning"]) * before["mean"])


def _begun(row: Row, before: Known | None, now: datetime) -> Known:
    """Return counters that begin here, with the mean so far."""
    mean, since = (before["mean"], before["since"]) if before else (None, now.isoformat())
    counters = {"calls": _number(row["calls"]), "total": _number(row["value"])}
    return {**counters, "at": now.isoformat(), "mean": mean, "since": since}


def _followed(row: Row, before: Known, mean: float, now: datetime) -> Known:
    """Return the counters with a mean that follows this look by its share of four weeks."""
    elapsed = now - datetime.fromisoformat(before["at"])
    weight = min(elapsed / WEEKS, 1.0) if before["mean"] is not None else 1.0
    base = mean * weight + (before["mean"] or 0.0) * (1 - weight)
    return {**_begun(row, before, now), "mean": base}


def _number(value: object) -> float:
    return float(str(value))
