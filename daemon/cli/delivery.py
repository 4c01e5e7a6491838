"""Delivery of waiting notifications by a command, unless the service is running."""

from daemon.context import Context
from store.file_lock import LockHeldError


def deliver_pending(context: Context, seconds: float) -> int | None:
    """Try once to deliver everything due; return the number of notifications still waiting.

    None means that the service is running and delivers them itself.
    """
    try:
        with context.store.owned():
            return context.courier().drain(seconds)
    except LockHeldError:
        return None
