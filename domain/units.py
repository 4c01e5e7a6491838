"""Durations and sizes: parsed from text and printed for people. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_SECONDS = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
    "year": 366 * 86400,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|days?|d|weeks?|w|years?)")
_LONGEST_SECONDS = 1000 * 366 * 86400
_BYTES = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|kb|mb|gb|tb)", re.IGNORECASE)
_BYTE_UNITS = ((1024**4, "TB"), (1024**3, "GB"), (1024**2, "MB"), (1024, "kB"))
_PRINTED_UNITS = (("days", 86400), ("h", 3600), ("m", 60))
_TENTH_ROUNDS_TO_ZERO = 0.05
_TENTHS_BELOW_SECONDS = 10
_MINUTE = 60


def parse_duration(text: object) -> timedelta:
    """Parse `30 days`, `2h` or `500ms`; longer than nothing, shorter than a thousand years.

    Raises ValueError with an example of the right form.
    """
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    seconds = 0.0
    if match:
        unit = match[2] if match[2] in _SECONDS else match[2].rstrip("s")
        seconds = float(match[1]) * _SECONDS[unit]
    if match and not 0 < seconds <= _LONGEST_SECONDS:
        limit = "must be longer than 0" if not seconds else "is too long (at most 1000 years)"
        raise ValueError(f"{quote_value(text)} {limit}")
    if match is None and str(text).lstrip().startswith("-"):
        raise ValueError(f"{quote_value(text)} must be longer than 0")
    if match is None:
        raise ValueError(f'{quote_value(text)} is not a duration (like "30 days", "2h", "90s")')
    return timedelta(seconds=seconds)


def parse_retention(text: object) -> timedelta:
    """Parse a time to keep rows or files: days, weeks or years. A year has 366 days.

    Minutes are refused: `6m` would be six minutes where six months are meant. Raises ValueError.
    """
    if isinstance(text, timedelta):
        return text
    span = parse_duration(text)
    if span < timedelta(days=1) or not re.search(r"d|w|y", str(text)):
        example = 'give days, weeks or years (like "400 days")'
        raise ValueError(f"{quote_value(text)} is not a retention time: {example}")
    return span


def parse_size(text: object) -> int:
    """Parse `64 MB`; a bare number is bytes. Raises ValueError with an example."""
    match = _SIZE.fullmatch(str(text).strip()) if isinstance(text, str | int) else None
    if match is None:
        raise ValueError(f'{quote_value(text)} is not a size (like "64 MB")')
    return int(float(match[1]) * _BYTES[match[2].lower()])


def quote_value(value: object) -> str:
    """Return a value as an error message shows it: text in double quotes, the rest as Python."""
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value)


def format_duration(span: timedelta) -> str:
    """Return a duration in its largest whole unit, in the form that `parse_duration` reads."""
    seconds = span.total_seconds()
    for unit, length in _PRINTED_UNITS:
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            if unit == "days":
                return f"{count} {unit}"
            return f"{count}{unit}"
    return f"{int(seconds) if seconds.is_integer() else seconds}s"


def byte_unit(value: float) -> tuple[int, str]:
    """Return the unit that fits a number of bytes: its length in bytes, and its name."""
    for length, unit in _BYTE_UNITS:
        if abs(value) >= length:
            return length, unit
    return 1, "B"


def format_size(value: float) -> str:
    """Return bytes as `1.2 GB`."""
    length, unit = byte_unit(value)
    if length > 1:
        return f"{value / length:.1f} {unit}"
    return f"{value:.0f} B"


def format_size_change(value: float) -> str:
    """Return a difference of bytes as `+1.2 GB`, `-3.0 MB` or `±0`."""
    if not value:
        return "±0"
    return f"{'+' if value > 0 else '-'}{format_size(abs(value))}"


def format_local_minute(instant: datetime, zone: str) -> str:
    """Return an aware instant as `2026-03-01 02:00 -04` in a time zone."""
    return f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def format_seconds(seconds: float) -> str:
    """Return a time as `<0.1 s`, `0.3 s`, `12 s`, `4 min 30 s` or `2 h 5 min`."""
    if 0 < seconds < _TENTH_ROUNDS_TO_ZERO:
        return "<0.1 s"
    if seconds < _TENTHS_BELOW_SECONDS:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < _MINUTE:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if minutes:
        return f"{hours} h {minutes} min"
    return f"{hours} h"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return some of the names as text, and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
