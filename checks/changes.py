"""What is new, changed or gone since the last look: told for some days, then taken as usual."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from checks.check import OptionValues, Row

USUAL = timedelta(days=1)
"""An object that was there for less is not missed."""
MOST_KEPT = 10_000
"""Objects that are kept from look to look."""
LONGEST_STATE = 200
COLUMNS = frozenset({"what", "what_es", "since"})
"""The columns that a row gets: the change as text, and its day."""
_WORDS = {"new": ("new", "nuevo"), "changed": ("changed", "cambiado"), "gone": ("gone", "falta")}

Known = Mapping[str, Mapping[str, Any]]
"""What is known of each object: state, the one before, kind and time of the last change."""


def changes(
    kinds: Sequence[str],
    rows: Sequence[Row],
    options: OptionValues,
    earlier: Known | None,
    now: datetime,
) -> tuple[Sequence[Row], Known]:
    """Return a row for each change of these kinds, and what the next look has to know.

    A row's `state` is compared; nothing is new at the first look (`earlier` is None). A change is
    told for the option `days`.
    """
    seen = {str(row["object"]): row for row in rows if row.get("value") is not None}
    unread = [row for row in rows if row.get("value") is None]
    known = _known(kinds, seen, earlier, now, all_read=not unread)
    lasting = timedelta(days=float(str(options["days"])))
    fresh = {name: one for name, one in known.items() if _is_fresh(one, kinds, lasting, now)}
    kept = {name: one for name, one in known.items() if one["kind"] != "gone" or name in fresh}
    return [*(_told(seen.get(name), one) for name, one in fresh.items()), *unread], kept


def _known(
    kinds: Sequence[str],
    seen: Mapping[str, Row],
    earlier: Known | None,
    now: datetime,
    *,
    all_read: bool,
) -> Known:
    """Return what is known of the objects that are there, and of those that are missed."""
    before = earlier or {}
    known = {
        name: _met(row, before.get(name), now, is_first=earlier is None)
        for name, row in list(seen.items())[:MOST_KEPT]
    }
    for name in before.keys() - known.keys():
        if not all_read:
            known[name] = before[name]  # it may be among those that were not read
        elif (gone := _missed(before[name], kinds, now)) is not None:
            known[name] = gone
    return known


def _met(
    row: Row, before: Mapping[str, Any] | None, now: datetime, *, is_first: bool
) -> Mapping[str, Any]:
    """Return what is known of an object that is there."""
    state, at = str(row.get("state", ""))[:LONGEST_STATE], now.isoformat()
    plain = {name: value for name, value in row.items() if isinstance(value, str | int | float)}
    if before is None:
        kind = "" if is_first else "new"
        return {"state": state, "was": "", "kind": kind, "at": at, "first": at, "row": plain}
    common = {"first": before["first"], "row": plain, "state": state}
    if before["state"] != state:
        return {**common, "was": before["state"], "kind": "changed", "at": at}
    kind = "" if before["kind"] == "gone" else before["kind"]
    return {**common, "was": before["was"], "kind": kind, "at": before["at"]}


def _missed(
    before: Mapping[str, Any], kinds: Sequence[str], now: datetime
) -> Mapping[str, Any] | None:
    """Return what is known of an object that is not there; None if it is forgotten."""
    if "gone" not in kinds:
        return None
    if before["kind"] == "gone":
        return before
    if now - datetime.fromisoformat(before["first"]) < USUAL:
        return None
    return {**before, "kind": "gone", "at": now.isoformat()}


def _is_fresh(
    one: Mapping[str, Any], kinds: Sequence[str], lasting: timedelta, now: datetime
) -> bool:
    return one["kind"] in kinds and now - datetime.fromisoformat(one["at"]) < lasting


def _told(row: Row | None, one: Mapping[str, Any]) -> Row:
    """Return the row of a change; of an object that is gone it is the last one."""
    english, spanish = _WORDS[one["kind"]]
    states = f"{one['was']} → {one['state']}" if one["kind"] == "changed" else one["state"]
    return {
        **(row or one["row"]),
        "what": f"{english}: {states}",
        "what_es": f"{spanish}: {states}",
        "since": str(one["at"])[:10],
    }
