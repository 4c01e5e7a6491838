"""The exit codes of the commands."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; 75 and 78 as in sysexits(3)."""

    FINE = 0
    FOUND = 1
    CANNOT = 2
    WINDOW = 3
    GATE = 4
    LOCKS = 5
    BUSY = 75
    CONFIG = 78
