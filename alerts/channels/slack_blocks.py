"""A message as Slack blocks, within Slack's limits and escaped. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from alerts.alert import OPENING, Line, Message, Reason
from alerts.wording import RESOLVED_MARK, reason_wording, severity_wording

Block = dict[str, Any]

LONGEST_SECTION = 2900
LONGEST_FIELD = 400
LONGEST_PART = 1500
LONGEST_LIST = 11_000
"""All blocks together may have about 13,200 characters (measured, undocumented)."""
MOST_NUMBERS = 150
"""The value of a button has at most 2,000 characters."""
MOST_FIELDS = 10
FEW = 8
"""Up to this many alerts are shown with their remedy."""
ACKNOWLEDGE = "acknowledge"
CALLED = OPENING | {Reason.RAISED, Reason.REPEATED, Reason.ESCALATED}
"""Reasons that mention people, and are also shown in the channel when posted in a thread."""


def blocks(
    message: Message, *, mention: str = "", button: bool = False, note: str = ""
) -> list[Block]:
    """Return the blocks; `mention` is a control sequence built by us."""
    parts = [_section(mention)] if mention else []
    parts += _digest(message) if message.lines else _single(message)
    if button and not message.over and not message.acknowledged_by:
        parts += _button(message)
    parts.append(
        {
            "type": "context",
            "elements": [{"type": "plain_text", "text": _footer(message, note), "emoji": False}],
        }
    )
    return parts


def summary(message: Message) -> str:
    """Return the text of the phone notification."""
    return cut(
        f"{mark(message)} {escape(message.title)}: {escape(message.summary)}", LONGEST_SECTION
    )


def called(who: str) -> str:
    """Return the control sequence that mentions a user id, a group id, here or channel."""
    if not who:
        return ""
    if who in {"here", "channel"}:
        return f"<!{who}>"
    if who.startswith("S"):
        return f"<!subteam^{escape(who)}>"
    return f"<@{escape(who)}>"


def escape(text: str) -> str:
    """Escape control characters: a table named <!channel> notifies nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, length: int) -> str:
    """Shorten text, never inside an escape sequence."""
    if len(text) <= length:
        return text
    kept = text[: length - 1]
    ampersand = kept.rfind("&", length - 7)
    if ampersand >= 0 and ";" not in kept[ampersand:]:
        kept = kept[:ampersand]
    return kept + "…"


def mark(message: Message) -> str:
    """Return the emoji and the word at the start of a message."""
    if message.over:
        return f"{RESOLVED_MARK} {message.said('resolved')}"
    severity = message.severity
    return f"{severity_wording(severity).mark} {message.said(severity.value)}"


def _single(message: Message) -> Iterator[Block]:
    words = "" if message.over else reason_wording(message.reason)
    why = ""
    if words:
        why = f" {message.said(words)}"
    head = f"{mark(message)} *{cut(escape(message.title), LONGEST_PART)}*{why}"
    yield _section(f"{head}\n{cut(escape(message.summary), LONGEST_PART - 200)}")
    if message.remedy and not message.over:
        yield _section(f"*{message.said('Remedy')}*\n{cut(escape(message.remedy), LONGEST_PART)}")
    details = dict(message.details)
    if message.acknowledged_by and not message.over:
        details = {"acknowledged by": message.acknowledged_by, **details}
    shown = [(message.said(name), value) for name, value in details.items() if value]
    fields = [_field(name, value) for name, value in shown[:MOST_FIELDS]]
    if fields:
        yield {"type": "section", "fields": fields}


def _digest(message: Message) -> Iterator[Block]:
    late = message.details.get("late")
    yield _section(
        f"{mark(message)} *{escape(message.title)}*: {escape(message.summary)}"
        + (f"\n_{escape(late)}_" if late else "")
    )
    shown, length, text = 0, 0, ""
    for line in message.lines:
        words = _line(line, remedy=len(message.lines) <= FEW)
        if length + len(words) + 1 > LONGEST_LIST:
            break
        if len(text) + len(words) + 1 > LONGEST_SECTION:
            yield _section(text)
            text = ""
        text, shown, length = (
            f"{text}\n{words}" if text else words,
            shown + 1,
            length + len(words) + 1,
        )
    yield _section(text)
    if message.lines[shown:]:
        yield _section(cut(_rest(message, shown), LONGEST_PART))


def _line(line: Line, *, remedy: bool) -> str:
    sign = RESOLVED_MARK if line.over else severity_wording(line.severity).mark
    note = ""
    if line.note:
        note = f" ({cut(escape(line.note), 80)})"
    excerpt = cut(escape(line.summary), 300 if remedy else 60)
    words = f"{sign} #{line.alert} *{cut(escape(line.title), 120)}* {excerpt}{note}"
    if remedy and line.remedy:
        return f"{words}\n     → {cut(escape(line.remedy), 300)}"
    return words


def _rest(message: Message, shown: int) -> str:
    """Name the alerts that did not fit, by kind and number."""
    kinds = Counter(line.title.partition(":")[0] for line in message.lines[shown:])
    counted = ", ".join(f"{number} {escape(kind)}" for kind, number in kinds.most_common(20))
    words = message.said("and {n} more: {kinds}. All:", n=len(message.lines) - shown, kinds=counted)
    return f"… {words} sereno alerts list"


def _button(message: Message) -> list[Block]:
    numbers = [line.alert for line in message.lines if not line.over] or [message.alert or 0]
    value = ",".join(str(number) for number in numbers[:MOST_NUMBERS] if number)
    if not value:
        return []
    several = "," in value
    words = message.said("Acknowledge all" if several else "Acknowledge")
    text = {"type": "plain_text", "text": words}
    return [
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": ACKNOWLEDGE, "text": text, "value": value}
            ],
        }
    ]


def _section(text: str) -> Block:
    return {
        "type": "section",
        "text": {"type": "mrkdwn", "text": cut(text, LONGEST_SECTION), "verbatim": True},
    }


def _field(name: str, value: str) -> Mapping[str, Any]:
    text = f"*{cut(escape(name), 100)}*\n{cut(escape(value), LONGEST_FIELD)}"
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _footer(message: Message, note: str) -> str:
    at = message.local_time(message.occurred_at)
    context = f"{message.instance} · {message.said(message.reason.value)} · {at}"
    hand = ""
    if message.alert and not message.over:
        hand = f" · sereno alerts ack {message.alert}"
    if message.url:
        hand += f" · {message.url}"
    return cut(f"{context}{hand}{f' · {note}' if note else ''}", LONGEST_PART)
