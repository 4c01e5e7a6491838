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
MOST_WINDOW_BYTES = 8 * 1024**2
"""Four times the window of the level; a frame that wants more was not written here."""
_DIFFERS = "the digest of the frame at {} differs from the recorded one"


class DamagedError(OSError):
    """The content of a file differs from its record; the message says where."""


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
    """Yield the rows of a frame in pieces of bounded size.

    The digest is compared before anything is unpacked, and again over the bytes that were. Raises
    DamagedError, possibly after some pieces.
    """
    verify_digest(descriptor, frame)
    source, rows = _Bytes(descriptor, frame), 0
    unpacker = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW_BYTES)
    try:
        reader = unpacker.stream_reader(source, PIECE_BYTES)  # type: ignore[arg-type]  # needs read()
        with reader:
            while piece := reader.read(PIECE_BYTES):
                rows += piece.count(b"\n")
                yield piece
    except zstandard.ZstdError as error:
        raise DamagedError(f"the frame at {frame.position}: {error}") from None
    if source.digest.hexdigest() != frame.sha256:
        raise DamagedError(_DIFFERS.format(frame.position))
    if rows != frame.rows:
        raise DamagedError(f"the frame at {frame.position} has {rows} rows, not {frame.rows}")


class _Bytes:
    """The packed bytes of a frame as a readable file, with their digest."""

    def __init__(self, descriptor: int, frame: Frame) -> None:
        self._descriptor, self._position = descriptor, frame.position
        self._end = frame.position + frame.length
        self.digest = hashlib.sha256()

    def read(self, most: int) -> bytes:
        """Return the next bytes; empty at the end."""
        data = os.pread(self._descriptor, min(most, self._end - self._position), self._position)
        self._position += len(data)
        self.digest.update(data)
        return data


def _digest(descriptor: int, frame: Frame) -> str:
    digest = hashlib.sha256()
    for offset in range(0, frame.length, PIECE_BYTES):
        digest.update(
            os.pread(descriptor, min(PIECE_BYTES, frame.length - offset), frame.position + offset)
        )
    return digest.hexdigest()


def verify_digest(descriptor: int, frame: Frame) -> None:
    """Raise DamagedError if the bytes of a frame differ from those written."""
    end = frame.position + frame.length
    size = os.fstat(descriptor).st_size
    if size < end:
        raise DamagedError(f"the file ends at {size}, before its frame does ({end})")
    if _digest(descriptor, frame) != frame.sha256:
        raise DamagedError(_DIFFERS.format(frame.position))


def verify_frame(descriptor: int, frame: Frame) -> None:
    """Read a frame back. Raises DamagedError if it differs from its record."""
    for _ in read_lines(descriptor, frame):
        pass
