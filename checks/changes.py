"""Objects that are new, changed or gone since the last look; each is a finding for some days."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from checks.check import OptionValues, Row

USUAL = timedelta(days=1)
"""An object that was seen for less time than this is not reported as gone."""
MOST_KEPT = 10_000
"""Objects that are kept from look to look."""
LONGEST_STATE = 200
COLUMNS = frozenset({"what", "what_es", "since"})
"""The columns that a row gets: the change as text, and its day."""
_WORDS = {"new": ("new", "nuevo"), "changed": ("changed", "cambiado"), "gone": ("gone", "falta")}

Known = Mapping[str, Mapping[str, Any]]
"""The history of each object: state, the one before, kind and time of the last change."""


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
    return [*(_finding(seen.get(name), one) for name, one in fresh.items()), *unread], kept


def _known(
    kinds: Sequence[str],
    seen: Mapping[str, Row],
    earlier: Known | None,
    now: datetime,
    *,
    all_read: bool,
) -> Known:
    """Return the objects that are there, and those that are missed, with their history."""
    before = earlier or {}
    known = {
        name: _seen(row, before.get(name), now, is_first=earlier is None)
        for name, row in list(seen.items())[:MOST_KEPT]
    }
    for name in before.keys() - known.keys():
        if not all_read:
            known[name] = before[name]  # it may be among those that were not read
        elif (gone := _absent(before[name], kinds, now)) is not None:
            known[name] = gone
    return known


def _seen(
    row: Row, before: Mapping[str, Any] | None, now: datetime, *, is_first: bool
) -> Mapping[str, Any]:
    """Return an object that is there, with its history."""
    whole, at = str(row.get("state", "")), now.isoformat()
    plain = {name: value for name, value in row.items() if isinstance(value, str | int | float)}
    digest = hashlib.sha256(whole.encode()).hexdigest()[:16]  # the end of a long state counts too
    common = {"row": plain, "state": whole[:LONGEST_STATE], "digest": digest, "last": at}
    if before is None:
        kind = "" if is_first else "new"
        return {**common, "was": "", "kind": kind, "at": at, "first": at}
    common["first"] = before["first"]
    if before["digest"] != digest:
        return {**common, "was": before["state"], "kind": "changed", "at": at}
    kind = "" if before["kind"] == "gone" else before["kind"]
    return {**common, "was": before["was"], "kind": kind, "at": before["at"]}


def _absent(
    before: Mapping[str, Any], kinds: Sequence[str], now: datetime
) -> Mapping[str, Any] | None:
    """Return an object that is not there, with its history; None if it is forgotten."""
    if "gone" not in kinds:
        # it may only be hidden for a while, as a setting by one of the database
        return None if "new" in kinds else before
    if before["kind"] == "gone":
        return before
    first, last = (datetime.fromisoformat(before[name]) for name in ("first", "last"))
    if last - first < USUAL:
        return None
    return {**before, "kind": "gone", "at": now.isoformat()}


def _is_fresh(
    one: Mapping[str, Any], kinds: Sequence[str], lasting: timedelta, now: datetime
) -> bool:
    return one["kind"] in kinds and now - datetime.fromisoformat(one["at"]) < lasting


def _finding(row: Row | None, one: Mapping[str, Any]) -> Row:
    """Return the row of a change; of an object that is gone it is the last one."""
    english, spanish = _WORDS[one["kind"]]
    was, state = (one[name] or "(empty)" for name in ("was", "state"))
    states = f"{was} → {state}" if one["kind"] == "changed" else state
    return {
        **(row or one["row"]),
        "what": f"{english}: {states}",
        "what_es": f"{spanish}: {states}",
        "since": str(one["at"])[:10],
    }
