"""Instants as stored text: UTC with fixed width, so that text order is time order."""

from datetime import UTC, datetime


def to_text(instant: datetime) -> str:
    """Return an instant as `2026-03-01T02:00:00.000000Z`. Raises ValueError if it is naive."""
    if instant.tzinfo is None:
        message = "an instant needs a time zone"
        raise ValueError(message)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """Parse the text of `to_text`."""
    return datetime.fromisoformat(text).astimezone(UTC)
