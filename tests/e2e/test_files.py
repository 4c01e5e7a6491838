"""Old files leave, and nothing else does: not links, not what lies behind them, not what changed meanwhile."""

import gzip
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from execution.step import Status
from retention.files.compress_files import CompressFiles
from retention.files.delete_files import (
    YOUNGEST_SECONDS,
    DeleteFiles,
    FileRule,
    compressible_files,
    expired_files,
)
from retention.files.open_files import open_files
from retention.files.safe_open import UnsafeFolderError

DAY = 86400


class NoProgress:
    def begin(self, *_): ...
    def advance(self, *_): ...
    def hold(self, *_): ...
    def end(self, *_): ...


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "var" / "log"
    folder.mkdir(parents=True)
    return folder


def make(folder, names):
    for name in names:
        (folder / name).write_text(name)


def rule(folder, keep=-1, newest=1, most=100, share=1.0):
    """keep = -1 s: everything has expired (ctime cannot be set back)."""
    return FileRule(str(folder / "*.log"), keep, newest, most, share)


def clean(folder, control, **options):
    wanted = rule(folder, **options)
    files, note = expired_files(wanted, time.time())
    return DeleteFiles(object=wanted.path, why=note or "old", rule=wanted, files=files).apply(
        control
    )


def test_old_files_leave_the_newest_stays_and_so_does_all_else(logs, control):
    make(logs, ["a.log", "b.log", "keep.txt"])
    (logs / "folder.log").mkdir()
    time.sleep(0.01)
    make(logs, ["newest.log"])
    outcome = clean(logs, control)
    assert (outcome.status, outcome.rows) == (Status.DONE, 2)
    assert sorted(path.name for path in logs.iterdir()) == ["folder.log", "keep.txt", "newest.log"]


def test_young_files_stay_though_their_mtime_says_otherwise(logs, control):
    make(logs, ["a.log", "b.log", "c.log"])
    os.utime(logs / "a.log", (0, 0))
    assert clean(logs, control, keep=DAY).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 3


def test_links_hard_links_and_pipes_are_left_alone(logs, tmp_path, control):
    precious = tmp_path / "precious"
    precious.write_text("x")
    (logs / "soft.log").symlink_to(precious)
    os.link(precious, logs / "hard.log")
    os.mkfifo(logs / "pipe.log")
    make(logs, ["a.log", "z.log"])
    clean(logs, control)
    assert precious.read_text() == "x"
    assert {path.name for path in logs.iterdir()} == {"soft.log", "hard.log", "pipe.log", "z.log"}


def test_limits_of_number_and_share(logs, control):
    make(logs, [f"{n}.log" for n in range(10)])
    assert clean(logs, control, most=3).rows == 3
    assert clean(logs, control, share=0.5).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 7


def test_a_file_that_changed_after_it_was_planned_stays(logs, control):
    make(logs, ["a.log", "b.log"])
    wanted = rule(logs)
    files, _ = expired_files(wanted, time.time())
    (logs / files[0].name).unlink()
    make(logs, [files[0].name])
    outcome = DeleteFiles(object=wanted.path, rule=wanted, files=files).apply(control)
    assert outcome.status is Status.INEFFECTIVE
    assert len(list(logs.iterdir())) == 2


def test_a_link_on_the_way_is_refused(logs, tmp_path):
    (tmp_path / "way").symlink_to(logs.parent)
    with pytest.raises(UnsafeFolderError, match="'way' is a link"):
        expired_files(rule(tmp_path / "way" / "log"), time.time())


def test_a_folder_that_anybody_may_write_to_is_refused(logs):
    logs.chmod(0o777)
    with pytest.raises(UnsafeFolderError, match="is world-writable"):
        expired_files(rule(logs), time.time())


def test_the_symlink_race_hits_no_foreign_file(logs, tmp_path, control):
    """An attacker swaps the folder for a link to precious files, over and over, while we clean."""
    precious = tmp_path / "precious"
    precious.mkdir()
    names = [f"{n}.log" for n in range(20)]
    make(precious, names)
    stop = threading.Event()

    def attack():
        aside = logs.with_name("aside")
        while not stop.is_set():
            logs.rename(aside)
            logs.symlink_to(precious)
            logs.unlink()
            aside.rename(logs)

    attacker = threading.Thread(target=attack)
    attacker.start()
    passes = 0
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                clean(logs, control)
                with_folder = os.open(logs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                for name in names[:3]:
                    Path(f"/proc/self/fd/{with_folder}/{name}").write_text("x")
                os.close(with_folder)
            except OSError:
                pass
            passes += 1
    finally:
        stop.set()
        attacker.join()
    assert passes > 50
    assert sorted(path.name for path in precious.iterdir()) == sorted(names)


def test_the_oldest_leave_until_the_rest_is_no_larger_but_none_of_the_last_hour(logs):
    for name in "abcd":
        (logs / f"{name}.log").write_text("x" * 100)
        time.sleep(0.01)
    by_size = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, total_bytes=250)
    assert expired_files(by_size, time.time())[0] == []
    later = time.time() + 2 * YOUNGEST_SECONDS
    assert [file.name for file in expired_files(by_size, later)[0]] == ["a.log", "b.log"]
    nothing = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, total_bytes=1)
    assert [file.name for file in expired_files(nothing, later)[0]] == [
        "a.log",
        "b.log",
        "c.log",
    ], "keep_newest stays"


def test_what_is_open_or_of_another_owner_or_mounted_stays(logs):
    make(logs, ["a.log", "b.log", "c.log", "d.log", "e.log"])
    os.chown(logs / "b.log", 12345, -1)
    with (logs / "a.log").open() as held:
        busy = frozenset({(os.fstat(held.fileno()).st_dev, os.fstat(held.fileno()).st_ino)})
    wanted = FileRule(str(logs / "*.log"), -1, 1, 100, 1.0, owner=os.getuid(), busy=busy)
    assert {file.name for file in expired_files(wanted, time.time())[0]} <= {
        "c.log",
        "d.log",
        "e.log",
    }
    assert len(expired_files(wanted, time.time())[0]) == 2


def test_a_file_that_another_process_has_open_is_seen(logs):
    make(logs, ["a.log"])
    holder = subprocess.Popen(["tail", "-f", str(logs / "a.log")], stdout=subprocess.DEVNULL)
    try:
        entry = (logs / "a.log").stat()
        while (entry.st_dev, entry.st_ino) not in open_files():
            assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()
    assert (entry.st_dev, entry.st_ino) not in open_files()


@pytest.fixture
def mounted(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "0.log").write_text("")
    other = tmp_path / "disk"
    other.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(other)], check=False).returncode:
        pytest.skip("needs the right to mount")
    (other / "far.log").write_text("far")
    (folder / "far.log").write_text("")
    subprocess.run(["mount", "--bind", str(other / "far.log"), str(folder / "far.log")], check=True)
    yield folder
    subprocess.run(["umount", str(folder / "far.log"), str(other)], check=True)


def test_a_file_that_is_mounted_into_the_folder_is_left_alone(mounted):
    make(mounted, ["z.log"])
    assert [file.name for file in expired_files(rule(mounted), time.time())[0]] == ["0.log"]


COMPRESSING = {"compress_seconds": -1.0}


def compress(logs, control, **options):
    wanted = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, **COMPRESSING, **options)
    return CompressFiles(
        object=wanted.path, rule=wanted, files=compressible_files(wanted, time.time())
    ).apply(control)


def test_old_files_are_compressed_with_their_times_modes_and_owners(logs, control):
    text = "line\n" * 10_000
    (logs / "a.log").write_text(text)
    (logs / "a.log").chmod(0o640)
    os.chown(logs / "a.log", 12345, 54321)
    os.utime(logs / "a.log", (1_700_000_000, 1_700_000_000))
    make(logs, ["z.log"])
    outcome = compress(logs, control)
    assert (outcome.status, outcome.rows) == (Status.DONE, 1)
    packed = logs / "a.log.gz"
    assert outcome.bytes == len(text) - packed.stat().st_size
    assert gzip.decompress(packed.read_bytes()).decode() == text
    entry = packed.stat()
    assert (entry.st_mode & 0o777, entry.st_uid, entry.st_gid, entry.st_mtime) == (
        0o640,
        12345,
        54321,
        1_700_000_000,
    )
    assert {path.name for path in logs.iterdir()} == {"a.log.gz", "z.log"}
    (logs / "z.log").unlink()
    time.sleep(0.01)
    make(logs, ["z.log"])
    again = FileRule(str(logs / "*.log"), -1, 1, 100, 1.0, **COMPRESSING)
    assert [file.name for file in expired_files(again, time.time())[0]] == ["a.log.gz"], (
        "what was compressed expires as well"
    )
    assert compressible_files(again, time.time()) == []


@pytest.mark.parametrize("there", ["the same", "another", "a pipe"])
def test_what_has_the_name_already_is_never_overwritten(logs, control, there):
    make(logs, ["a.log", "z.log"])
    if there == "a pipe":
        os.mkfifo(logs / "a.log.gz")
    else:
        (logs / "a.log.gz").write_bytes(
            gzip.compress(b"a.log" if there == "the same" else b"other")
        )
    (logs / ".a.log.gz.sereno").write_text("half of a run that did not end")
    outcome = compress(logs, control)
    assert (logs / "a.log").exists() == (there != "the same")
    assert bool(outcome.reason) == (there != "the same")
    assert not (logs / ".a.log.gz.sereno").exists()


def test_a_full_disk_loses_nothing(logs, control):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(logs)], check=False
    ).returncode:
        pytest.skip("needs the right to mount")
    try:
        content = os.urandom(40_000)
        (logs / "a.log").write_bytes(content)
        make(logs, ["z.log"])
        assert compress(logs, control).status is Status.INEFFECTIVE
        assert (logs / "a.log").read_bytes() == content
        assert {path.name for path in logs.iterdir()} == {"a.log", "z.log"}
    finally:
        subprocess.run(["umount", str(logs)], check=True)
