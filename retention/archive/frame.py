r"""One batch as one zstd frame of COPY text lines; lossless for every type.

Consecutive frames form one stream. Text, not CSV: before server 18 a line `\.` inside a value ends
a CSV for psql (manual, COPY, File Formats).
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import zstandard

LEVEL = 3
PIECE_BYTES = 256 * 1024
MOST_PENDING = 4


class DamagedError(OSError):
    """The content of a file differs from what was written; the message says where."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Position and length of a frame in its file, and the SHA-256 of its bytes."""

    position: int
    length: int
    sha256: str
    rows: int


class FrameWriter:
    """Compresses rows in a thread of its own and appends them to an open file.

    Each piece is unpacked again at once, so the digest of the bytes proves the rows.
    """

    def __init__(self, descriptor: int, pool: Executor) -> None:
        self._descriptor, self._pool = descriptor, pool
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._unpacker = zstandard.ZstdDecompressor().decompressobj()
        self._digest = hashlib.sha256()
        self._rows = 0
        self._pending: deque[Future[None]] = deque()
        self._length = 0

    def write(self, piece: bytes) -> None:
        """Accept some rows. Raises OSError if an earlier piece could not be written."""
        self._pending.append(self._pool.submit(self._compress, piece))
        if len(self._pending) > MOST_PENDING:
            self._pending.popleft().result()

    def finish(self, position: int, rows: int) -> Frame:
        """End the frame, sync it, read it back. Raises OSError, or DamagedError if it differs."""
        while self._pending:
            self._pending.popleft().result()
        self._append(self._compressor.flush())
        os.fsync(self._descriptor)
        frame = Frame(position, self._length, self._digest.hexdigest(), rows)
        if (
            self._rows != rows
            or not self._unpacker.eof
            or _digest(self._descriptor, frame) != frame.sha256
        ):
            raise DamagedError(f"the bytes read back at {position} differ from those written")
        return frame

    def _compress(self, piece: bytes) -> None:
        self._append(self._compressor.compress(piece))

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        self._length += len(data)
        self._rows += self._unpacker.decompress(data).count(b"\n") if data else 0
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


def read_lines(descriptor: int, frame: Frame) -> Iterator[bytes]:
    """Yield the rows of a frame in pieces. Raises DamagedError at the end if the digest differs."""
    digest, rows = hashlib.sha256(), 0
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    position, end = frame.position, frame.position + frame.length
    while position < end:
        data = os.pread(descriptor, min(PIECE_BYTES, end - position), position)
        if not data:
            raise DamagedError(f"the file ends at {position}, before its frame does ({end})")
        position += len(data)
        digest.update(data)
        try:
            piece = decompressor.decompress(data)
        except zstandard.ZstdError as error:
            raise DamagedError(f"the frame at {frame.position}: {error}") from None
        rows += piece.count(b"\n")
        yield piece
    if digest.hexdigest() != frame.sha256 or not decompressor.eof:
        raise DamagedError(
            f"the digest of the frame at {frame.position} differs from the recorded one"
        )
    if rows != frame.rows:
        raise DamagedError(f"the frame at {frame.position} has {rows} rows, not {frame.rows}")


def _digest(descriptor: int, frame: Frame) -> str:
    digest = hashlib.sha256()
    for offset in range(0, frame.length, PIECE_BYTES):
        digest.update(
            os.pread(descriptor, min(PIECE_BYTES, frame.length - offset), frame.position + offset)
        )
    return digest.hexdigest()


def verify_frame(descriptor: int, frame: Frame) -> None:
    """Read a frame back. Raises DamagedError if it differs from what was written."""
    for _ in read_lines(descriptor, frame):
        pass
