"""Frames of archive files: read in bounded pieces, nothing unpacked before the digest agrees."""

import hashlib
import os
import resource

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from retention.archive import frame as frames
from retention.archive.frame import DamagedError, Frame, read_lines
from retention.files.safe_open import UnsafeFolderError, open_folder, open_regular


def stored(path, packed, rows, sha256=None):
    """Write packed bytes to a file; return its descriptor and the frame."""
    path.write_bytes(packed)
    digest = sha256 or hashlib.sha256(packed).hexdigest()
    return os.open(path, os.O_RDONLY), Frame(0, len(packed), digest, rows)


def test_bomb_with_the_recorded_digest_is_unpacked_in_bounded_pieces(tmp_path):
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    packed = b"".join(compressor.compress(b"\n" * 2**20) for _ in range(2048)) + compressor.flush()
    assert len(packed) < 2**20
    descriptor, frame = stored(tmp_path / "bomb", packed, 2**31)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = max(len(piece) for piece in read_lines(descriptor, frame))
    assert largest <= frames.PIECE_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_frame_with_a_huge_window_is_refused(tmp_path):
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packed.compress(os.urandom(2**20)) + packed.flush()
    descriptor, frame = stored(tmp_path / "window", data, 1)
    with pytest.raises(DamagedError):
        list(read_lines(descriptor, frame))


def test_nothing_is_unpacked_when_the_digest_differs(tmp_path):
    packed = zstandard.ZstdCompressor().compress(b"a\nb\n")
    descriptor, frame = stored(tmp_path / "other", packed, 2, sha256="0" * 64)
    with pytest.raises(DamagedError, match="differs from the recorded one"):
        next(read_lines(descriptor, frame))


@given(st.binary(max_size=3000).map(lambda data: data.replace(b"\0", b"\n")), st.integers(0, 9))
def test_rows_are_returned_unchanged_and_cut_files_are_damaged(tmp_path_factory, data, cut):
    packed = zstandard.ZstdCompressor().compress(data)
    path = tmp_path_factory.mktemp("frame") / "f"
    descriptor, frame = stored(path, packed, data.count(b"\n"))
    assert b"".join(read_lines(descriptor, frame)) == data
    if cut:
        os.truncate(path, len(packed) - min(cut, len(packed)))
        with pytest.raises(DamagedError, match="the file ends at"):
            list(read_lines(descriptor, frame))
    os.close(descriptor)


def test_only_regular_files_are_opened(tmp_path):
    tmp_path.chmod(0o700)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_folder(str(tmp_path)) as folder:
        os.close(open_regular(folder, "file"))
        for name in ("fifo", "folder"):
            with pytest.raises(UnsafeFolderError, match=f"{name} is not a regular file"):
                open_regular(folder, name)
        with pytest.raises(OSError, match="symbolic links"):
            open_regular(folder, "link")
