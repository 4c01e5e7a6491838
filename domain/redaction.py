"""Removal of secrets and control characters from text of outside origin.

The text is cut before it is matched, since a value read from a table may be as long as 1 GB.
"""

import re
import unicodedata

LONGEST = 2000
"""The longest text returned, in characters."""
MATCHED = 2 * LONGEST
"""The longest text that is matched: more is cut off before."""

_WORDS = "password|passwd|pwd|passfile|secret|token|api_?key|routing_?key"
_QUOTED = r"""'[^']*+(?:'|\Z)|"[^"]*+(?:"|\Z)"""
"""A quoted value; the cut may have removed its end."""
_SECRETS = (
    re.compile(
        rf"(?i)((?<![\w-])(?=[\w-]*?(?:{_WORDS}))[\w-]++[\"']?\s*+[=:]\s*+)"
        # the path of a password file may be quoted in an error
        r"(?!No such file|Permission denied|Is a directory)"
        rf"({_QUOTED}|[^\s,;&{{][^\s,;&]*+)"
    ),
    re.compile(rf"(?i)(\bpassword\s++)({_QUOTED})"),
    re.compile(r"((?<!\w)\w++://[^:/?#\s@]*+:)(\S+)(?=@)"),
    re.compile(r"(?i)(\b(?:Bearer|Basic)\s++)([\w.~+/=-]{6,})"),
    re.compile(r"()(\b(?:xox[abeoprs]|xapp)-[\w-]++)"),
    re.compile(r"()(\bwhsec_[\w+/=-]++)"),
    re.compile(r"(https://hooks\.slack\.com/\w+/)(\S++)"),
)
_CUT_URL = re.compile(r"((?<!\w)\w++://[^:/?#\s@]*+:)\S+\Z")
"""A URL whose end was cut off: the rest may be a password."""
_ADDRESS_PART = r"[^\s@<>\"'(),:;=]"
_ADDRESS = re.compile(rf"(?<!{_ADDRESS_PART}){_ADDRESS_PART}++@{_ADDRESS_PART}+\.\w+")
_FORMAT_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co"})


def redact(text: str, *, hide_addresses: bool = False) -> str:
    """Return the text on one line, shortened, without secrets, control or direction characters."""
    shortened = len(text) > MATCHED
    if shortened:
        text = _CUT_URL.sub(r"\1***", text[:MATCHED])
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***", text)
    if hide_addresses:
        text = _ADDRESS.sub("***@***", text)
    visible = "".join(
        " "
        if character in "\t\r\n\u2028\u2029"
        or unicodedata.category(character) in _FORMAT_CATEGORIES
        else character
        for character in text
    )
    if len(visible) <= LONGEST and not shortened:
        return visible
    return visible[: LONGEST - 1] + "…"
