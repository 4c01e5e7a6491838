"""Connections to state files, kept open between two transactions.

Opening one, which reads the schema, costs thirty times as much as a short transaction. A kept one
holds no lock, and SQLite itself notices what other processes commit meanwhile.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOST_KEPT = 6
"""Connections of this process to all its state files together; each caches up to 2 MB of pages."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A connection that no transaction uses."""

    connection: sqlite3.Connection
    path: Path
    file: tuple[int, int]
    """Device and inode: another file at the same path needs a new connection."""
    writes: bool


class KeptConnections:
    """The connections that are kept; of too many the one that was used first is closed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: list[_Kept] = []
        self._generation = 0
        """Connections of an earlier one are not kept again."""

    @contextmanager
    def lent(
        self, path: Path, connect: Callable[[], sqlite3.Connection], *, writes: bool
    ) -> Iterator[sqlite3.Connection]:
        """Lend a kept connection, or a new one, for a transaction that the body begins and ends.

        After an exception it is closed, which rolls its transaction back.
        """
        file, generation = _identity(path), self._generation
        connection = self._taken(path, file, writes=writes) or connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._keep(_Kept(connection, path, file, writes), generation)

    def close(self) -> None:
        """Close all connections; one that is lent is closed at the end of its transaction."""
        with self._guard:
            self._generation += 1
            while self._kept:
                self._kept.pop().connection.close()

    def _taken(
        self, path: Path, file: tuple[int, int], *, writes: bool
    ) -> sqlite3.Connection | None:
        """Take out the connection used last; close those to a file that `path` no longer names."""
        found: sqlite3.Connection | None = None
        with self._guard:
            for one in reversed([one for one in self._kept if one.path == path]):
                if one.file != file:
                    self._kept.remove(one)
                    one.connection.close()
                elif found is None and one.writes is writes:
                    self._kept.remove(one)
                    found = one.connection
        return found

    def _keep(self, ended: _Kept, generation: int) -> None:
        with self._guard:
            if generation != self._generation:
                ended.connection.close()
                return
            self._kept.append(ended)
            if len(self._kept) > MOST_KEPT:
                self._kept.pop(0).connection.close()


def _identity(path: Path) -> tuple[int, int]:
    """Return the device and inode of a file; zeros if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino
