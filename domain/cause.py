"""Machine-readable causes of steps and runs that did not do their work."""

from enum import StrEnum


class Cause(StrEnum):
    """The cause of a skipped or failed step or run.

    Severity and exit code are derived from it, never from text.
    """

    NO_PRIVILEGE = "no_privilege"
    """The login lacks a right."""
    LEFT_TO_AUTOVACUUM = "left_to_autovacuum"
    """An autovacuum worker is already working on the table."""
    LOCKED = "locked"
    """Another session's lock was in the way."""
    BUSY = "busy"
    """Another sereno holds the lock of the database or the job."""
    FOREIGN_LOCK_HOLDER = "foreign_lock_holder"
    """A login that is not sereno's holds the lock of the database."""
    REFUSED = "refused"
    """A safety rule forbids it: wrong server, rights open to abuse, an entry that cannot work."""
    UNREACHABLE = "unreachable"
    """The server does not answer."""
    MISSED = "missed"
    """The due time passed while nothing could run it."""
    NO_ROOM = "no_room"
    """The disk has too little free space, or its free space is unknown."""
    NOT_SEEN = "not_seen"
    """A check could not look, for example because a view is not readable."""
    GONE = "gone"
    """The object no longer exists or has changed since it was planned."""
    BAD_CHECK = "bad_check"
    """A check's file is wrong."""
    ERROR = "error"
    """Any other error."""
