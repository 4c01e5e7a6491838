"""Several messages combined into one, with a line per alert. Pure."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from alerts.alert import OPENING, Line, Message, Reason
from alerts.catalogue import counted

LATE = timedelta(minutes=5)
"""A message sent this long after its time states the delay."""

COUNTED = {
    "critical": ("{n} critical", "{n} critical"),
    "high": ("{n} high", "{n} high"),
    "warning": ("{n} warning", "{n} warnings"),
    "info": ("{n} info", "{n} info"),
    "resolved": ("{n} resolved", "{n} resolved"),
}
"""How the alerts of a message are counted, the worst first."""
_LOW = {Reason.ACKNOWLEDGED: 1, Reason.CHANGED: 2}


def combined_id(ids: Sequence[str]) -> str:
    """Return the id of a combined copy: the same for the same members."""
    if len(ids) == 1:
        return ids[0]
    return hashlib.sha256(" ".join(sorted(ids)).encode("ascii")).hexdigest()[:32]


def combine(messages: Sequence[Message]) -> Message:
    """Combine messages given in the order of their creation."""
    by_alert: dict[int | None, list[Message]] = {}
    for message in messages:
        by_alert.setdefault(message.alert, []).append(message)
    latest = [_latest(of_one) for of_one in by_alert.values()]
    if len(latest) == 1:
        return latest[0]
    return same_message(latest)


def same_message(messages: Sequence[Message]) -> Message:
    """Return a message with a line per alert, highest severity first, resolved ones last."""
    ordered = sorted(
        messages, key=lambda one: (one.over, -one.severity.rank, one.occurred_at, one.alert or 0)
    )
    firing = [one for one in ordered if not one.over]
    worst = max(one.severity for one in firing or ordered)
    # an opening outranks an acknowledgement or a correction
    leading = min(
        firing, key=lambda one: (one.reason not in OPENING, _LOW.get(one.reason, 0)), default=None
    )
    types = {one.type for one in ordered}
    return Message(
        instance=ordered[0].instance,
        severity=worst,
        reason=leading.reason if leading else Reason.RESOLVED,
        kind="digest",
        type=types.pop() if len(types) == 1 else "MAINTENANCE_FAILURE",
        title=ordered[0].said(
            "{n} alerts of {day}",
            n=len(ordered),
            day=ordered[0].local_time(ordered[0].occurred_at)[:10],
        ),
        summary=_counted(ordered),
        database="",
        object="",
        remedy="",
        occurred_at=max(one.occurred_at for one in ordered),
        action_required=any(one.action_required for one in ordered),
        lines=tuple(_line(one) for one in ordered),
        zone=ordered[0].zone,
        url=ordered[0].url.rpartition("/")[0],
        language=ordered[0].language,
    )


def mark_late(message: Message, by: timedelta, why: str) -> Message:
    """Return the message with a note about its delay."""
    if by < LATE:
        return message
    minutes = round(by.total_seconds() / 60)
    shown = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 - two hours
    return replace(
        message,
        details={
            "late": message.said("delayed by {time}", time=shown) + (f": {why}" if why else ""),
            **message.details,
        },
    )


def _latest(messages: Sequence[Message]) -> Message:
    """Return the current message about one alert from several."""
    first, last = messages[0], messages[-1]
    if len(messages) == 1:
        return last
    if not last.over:
        notable = [
            one for one in messages if one.reason is not Reason.CHANGED and not one.over
        ] or [last]
        return replace(last, reason=(first if first.reason in OPENING else notable[-1]).reason)
    if first.reason not in OPENING:
        return last
    fired = last.local_time(first.occurred_at)[11:16]
    resolved = last.local_time(last.occurred_at)[11:]
    times = last.said("fired {start}, resolved {end}, before delivery", start=fired, end=resolved)
    return replace(last, details={"it": times, **last.details})


def _line(message: Message) -> Line:
    note = message.details.get("it", "")
    if not note and message.acknowledged_by and not message.over:
        note = message.said("acknowledged by {person}", person=message.acknowledged_by)
    remedy = "" if message.over else message.remedy
    return Line(
        message.alert or 0,
        message.severity,
        message.title,
        message.summary,
        message.over,
        note,
        remedy,
    )


def _counted(messages: Sequence[Message]) -> str:
    """Return the number of alerts per severity."""
    found = Counter("resolved" if one.over else one.severity.value for one in messages)
    tongue = messages[0].language
    return ", ".join(
        counted(tongue, *forms, found[word]) for word, forms in COUNTED.items() if found[word]
    )
