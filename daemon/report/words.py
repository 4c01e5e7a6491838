"""Numbers as people read them. Pure."""

_UNITS = ((1024**4, "TB"), (1024**3, "GB"), (1024**2, "MB"), (1024, "kB"))


def in_unit(value: float) -> tuple[int, str]:
    """Return the unit that fits a number of bytes: its length, and its name."""
    return next(((length, unit) for length, unit in _UNITS if abs(value) >= length), (1, "B"))


def size(value: float) -> str:
    """Write bytes: `1.2 GB`."""
    length, unit = in_unit(value)
    return f"{value / length:.1f} {unit}" if length > 1 else f"{value:.0f} B"


def change(value: float) -> str:
    """Write bytes more or less: `+1.2 GB`, `-3.0 MB`, `±0`."""
    if not value:
        return "±0"
    return f"{'+' if value > 0 else '-'}{size(abs(value))}"


def span(seconds: float) -> str:
    """Write a time: `<0.1 s`, `0.3 s`, `12 s`, `4 min 30 s`, `2 h 5 min`."""
    if 0 < seconds < 0.05:  # noqa: PLR2004 - what rounds to nothing
        return "<0.1 s"
    if seconds < 10:  # noqa: PLR2004 - a second is no longer much then
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
