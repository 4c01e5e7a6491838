"""How a command ends."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes (DESIGN section 8 keeps to sysexits where it can)."""

    FINE = 0
    FOUND = 1
    CANNOT = 2
    WINDOW = 3
    BUSY = 75
    CONFIG = 78
