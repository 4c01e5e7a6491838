"""Instants as the state file keeps them: UTC, fixed width, so that text order is time order."""

from datetime import UTC, datetime


def to_text(instant: datetime) -> str:
    """Write an aware instant as `2026-03-01T02:00:00.000000Z`; a naive one is a ValueError."""
    if instant.tzinfo is None:
        message = "an instant without a time zone cannot be kept"
        raise ValueError(message)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """Read what `to_text` wrote."""
    return datetime.fromisoformat(text).astimezone(UTC)
