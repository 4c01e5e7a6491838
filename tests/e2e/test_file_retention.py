"""File retention: deletion, compression, limits; links, mounts, changed and open files stay."""

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


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "var" / "log"
    folder.mkdir(parents=True)
    return folder


def create_files(folder, names):
    for name in names:
        (folder / name).write_text(name)


def rule(folder, keep=-1, newest=1, most=100, share=1.0):
    """Make a rule; with keep = -1 s every file has expired, since ctime cannot be set back."""
    return FileRule(str(folder / "*.log"), keep, newest, most, share)


def delete_expired(folder, control, **options):
    file_rule = rule(folder, **options)
    files, note = expired_files(file_rule, time.time())
    return DeleteFiles(object=file_rule.path, why=note or "old", rule=file_rule, files=files).apply(
        control
    )


def test_expired_files_are_deleted_except_the_newest(logs, control):
    create_files(logs, ["a.log", "b.log", "keep.txt"])
    (logs / "folder.log").mkdir()
    time.sleep(0.01)
    create_files(logs, ["newest.log"])
    outcome = delete_expired(logs, control)
    assert (outcome.status, outcome.rows) == (Status.DONE, 2)
    assert sorted(path.name for path in logs.iterdir()) == ["folder.log", "keep.txt", "newest.log"]


def test_recent_ctime_keeps_a_file_with_an_old_mtime(logs, control):
    create_files(logs, ["a.log", "b.log", "c.log"])
    os.utime(logs / "a.log", (0, 0))
    assert delete_expired(logs, control, keep=DAY).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 3


def test_links_and_pipes_are_not_deleted(logs, tmp_path, control):
    target = tmp_path / "target"
    target.write_text("x")
    (logs / "soft.log").symlink_to(target)
    os.link(target, logs / "hard.log")
    os.mkfifo(logs / "pipe.log")
    create_files(logs, ["a.log", "z.log"])
    delete_expired(logs, control)
    assert target.read_text() == "x"
    assert {path.name for path in logs.iterdir()} == {"soft.log", "hard.log", "pipe.log", "z.log"}


def test_number_and_share_of_deleted_files_are_limited(logs, control):
    create_files(logs, [f"{n}.log" for n in range(10)])
    assert delete_expired(logs, control, most=3).rows == 3
    assert delete_expired(logs, control, share=0.5).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 7


def test_file_replaced_after_planning_is_not_deleted(logs, control):
    create_files(logs, ["a.log", "b.log"])
    file_rule = rule(logs)
    files, _ = expired_files(file_rule, time.time())
    (logs / files[0].name).unlink()
    create_files(logs, [files[0].name])
    outcome = DeleteFiles(object=file_rule.path, rule=file_rule, files=files).apply(control)
    assert outcome.status is Status.INEFFECTIVE
    assert len(list(logs.iterdir())) == 2


def test_symbolic_link_in_the_path_is_refused(logs, tmp_path):
    (tmp_path / "way").symlink_to(logs.parent)
    with pytest.raises(UnsafeFolderError, match="'way' is a link"):
        expired_files(rule(tmp_path / "way" / "log"), time.time())


def test_world_writable_folder_is_refused(logs):
    logs.chmod(0o777)
    with pytest.raises(UnsafeFolderError, match="is world-writable"):
        expired_files(rule(logs), time.time())


def test_symlink_race_deletes_no_file_outside_the_folder(logs, tmp_path, control):
    """A thread replaces the folder by a link to other files and back, again and again."""
    target = tmp_path / "target"
    target.mkdir()
    names = [f"{n}.log" for n in range(20)]
    create_files(target, names)
    stop = threading.Event()

    def attack():
        aside = logs.with_name("aside")
        while not stop.is_set():
            logs.rename(aside)
            logs.symlink_to(target)
            logs.unlink()
            aside.rename(logs)

    attacker = threading.Thread(target=attack)
    attacker.start()
    passes = 0
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                delete_expired(logs, control)
                descriptor = os.open(logs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                for name in names[:3]:
                    Path(f"/proc/self/fd/{descriptor}/{name}").write_text("x")
                os.close(descriptor)
            except OSError:
                pass
            passes += 1
    finally:
        stop.set()
        attacker.join()
    assert passes > 50
    assert sorted(path.name for path in target.iterdir()) == sorted(names)


def test_total_size_limit_deletes_the_oldest_files_above_the_minimum_age(logs):
    for name in "abcd":
        (logs / f"{name}.log").write_text("x" * 100)
        time.sleep(0.01)
    by_total = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, total_bytes=250)
    assert expired_files(by_total, time.time())[0] == []
    later = time.time() + 2 * YOUNGEST_SECONDS
    assert [file.name for file in expired_files(by_total, later)[0]] == ["a.log", "b.log"]
    by_one_byte = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, total_bytes=1)
    assert [file.name for file in expired_files(by_one_byte, later)[0]] == [
        "a.log",
        "b.log",
        "c.log",
    ], "keep_newest stays"


def test_open_files_and_files_of_another_owner_are_not_deleted(logs):
    create_files(logs, ["a.log", "b.log", "c.log", "d.log", "e.log"])
    os.chown(logs / "b.log", 12345, -1)
    with (logs / "a.log").open() as open_file:
        busy = frozenset(
            {(os.fstat(open_file.fileno()).st_dev, os.fstat(open_file.fileno()).st_ino)}
        )
    file_rule = FileRule(str(logs / "*.log"), -1, 1, 100, 1.0, owner=os.getuid(), busy=busy)
    assert {file.name for file in expired_files(file_rule, time.time())[0]} <= {
        "c.log",
        "d.log",
        "e.log",
    }
    assert len(expired_files(file_rule, time.time())[0]) == 2


def test_file_opened_by_another_process_is_detected(logs):
    create_files(logs, ["a.log"])
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
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("needs the privilege to mount")
    (disk / "far.log").write_text("far")
    (folder / "far.log").write_text("")
    subprocess.run(["mount", "--bind", str(disk / "far.log"), str(folder / "far.log")], check=True)
    yield folder
    subprocess.run(["umount", str(folder / "far.log"), str(disk)], check=True)


def test_mounted_file_is_not_deleted(mounted):
    create_files(mounted, ["z.log"])
    assert [file.name for file in expired_files(rule(mounted), time.time())[0]] == ["0.log"]


COMPRESSING = {"compress_seconds": -1.0}


def compress(logs, control, **options):
    file_rule = FileRule(str(logs / "*.log"), None, 1, 100, 1.0, **COMPRESSING, **options)
    return CompressFiles(
        object=file_rule.path, rule=file_rule, files=compressible_files(file_rule, time.time())
    ).apply(control)


def test_compression_keeps_time_mode_and_owner(logs, control):
    text = "line\n" * 10_000
    (logs / "a.log").write_text(text)
    (logs / "a.log").chmod(0o640)
    os.chown(logs / "a.log", 12345, 54321)
    os.utime(logs / "a.log", (1_700_000_000, 1_700_000_000))
    create_files(logs, ["z.log"])
    outcome = compress(logs, control)
    assert (outcome.status, outcome.rows) == (Status.DONE, 1)
    compressed = logs / "a.log.gz"
    assert outcome.bytes == len(text) - compressed.stat().st_size
    assert gzip.decompress(compressed.read_bytes()).decode() == text
    entry = compressed.stat()
    assert (entry.st_mode & 0o777, entry.st_uid, entry.st_gid, entry.st_mtime) == (
        0o640,
        12345,
        54321,
        1_700_000_000,
    )
    assert {path.name for path in logs.iterdir()} == {"a.log.gz", "z.log"}
    (logs / "z.log").unlink()
    time.sleep(0.01)
    create_files(logs, ["z.log"])
    again = FileRule(str(logs / "*.log"), -1, 1, 100, 1.0, **COMPRESSING)
    assert [file.name for file in expired_files(again, time.time())[0]] == ["a.log.gz"], (
        "compressed files expire as well"
    )
    assert compressible_files(again, time.time()) == []


@pytest.mark.parametrize("existing", ["the same", "another", "a pipe"])
def test_compression_does_not_overwrite_an_existing_file(logs, control, existing):
    create_files(logs, ["a.log", "z.log"])
    if existing == "a pipe":
        os.mkfifo(logs / "a.log.gz")
    else:
        (logs / "a.log.gz").write_bytes(
            gzip.compress(b"a.log" if existing == "the same" else b"other")
        )
    (logs / ".a.log.gz.sereno").write_text("left by an interrupted run")
    outcome = compress(logs, control)
    assert (logs / "a.log").exists() == (existing != "the same")
    assert bool(outcome.reason) == (existing != "the same")
    assert not (logs / ".a.log.gz.sereno").exists()


def test_compression_on_a_full_disk_keeps_the_original(logs, control):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(logs)], check=False
    ).returncode:
        pytest.skip("needs the privilege to mount")
    try:
        content = os.urandom(40_000)
        (logs / "a.log").write_bytes(content)
        create_files(logs, ["z.log"])
        assert compress(logs, control).status is Status.INEFFECTIVE
        assert (logs / "a.log").read_bytes() == content
        assert {path.name for path in logs.iterdir()} == {"a.log", "z.log"}
    finally:
        subprocess.run(["umount", str(logs)], check=True)
