"""Removal of secrets and control characters from text of outside origin."""

import re
import unicodedata

LONGEST = 2000

_SECRETS = (
    re.compile(
        r"(?i)([\w-]*(?:password|passwd|pwd|passfile|secret|token|api_?key|routing_?key)[\w-]*[\"']?\s*[=:]\s*)"
        r"(?!No such file|Permission denied|Is a directory)"  # a path whose name is like a secret
        r"('[^']*'|\"[^\"]*\"|[^\s,;&{][^\s,;&]*)"
    ),
    re.compile(r"(?i)(\bpassword\s+)('[^']*'|\"[^\"]*\")"),
    re.compile(r"(\w+://[^:/?#\s@]*:)(\S+)(?=@)"),
    re.compile(r"(?i)(\b(?:Bearer|Basic)\s+)([\w.~+/=-]{6,})"),
    re.compile(r"()(\b(?:xox[abeoprs]|xapp)-[\w-]+)"),
    re.compile(r"()(\bwhsec_[\w+/=-]+)"),
    re.compile(r"(https://hooks\.slack\.com/\w+/)(\S+)"),
)
_ADDRESS = re.compile(r"[^\s@<>\"'(),:;=]+@[^\s@<>\"'(),:;=]+\.\w+")
_FORMAT_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co"})


def redact(text: str, *, hide_addresses: bool = False) -> str:
    """Return the text on one line, shortened, without secrets, control or direction characters."""
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
    if len(visible) <= LONGEST:
        return visible
    return visible[: LONGEST - 1] + "…"
