"""Old files leave, and nothing else does: not links, not what lies behind them, not what changed meanwhile."""

import os
import threading
import time
from pathlib import Path

import pytest

from archive.descent import UnsafeFolderError
from archive.folder import FolderCleanup, Rule, expired
from postgres.governor import Limits, Sample
from postgres.pace import Pace, Terms
from postgres.step import Status
from postgres.window import opens_for

DAY = 86400


class Silent:
    def begin(self, *_): ...
    def advance(self, *_): ...
    def hold(self, *_): ...
    def end(self, *_): ...


@pytest.fixture
def pace():
    return Pace(Terms(opens_for(None), threading.Event(), Sample, Limits(), Silent()), 60)


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
    return Rule(str(folder / "*.log"), keep, newest, most, share)


def clean(folder, pace, **options):
    wanted = rule(folder, **options)
    files, note = expired(wanted, time.time())
    return FolderCleanup(wanted, files, note or "old").apply(None, pace)


def test_old_files_leave_the_newest_stays_and_so_does_all_else(logs, pace):
    make(logs, ["a.log", "b.log", "keep.txt"])
    (logs / "folder.log").mkdir()
    time.sleep(0.01)
    make(logs, ["newest.log"])
    outcome = clean(logs, pace)
    assert (outcome.status, outcome.rows) == (Status.DONE, 2)
    assert sorted(path.name for path in logs.iterdir()) == ["folder.log", "keep.txt", "newest.log"]


def test_young_files_stay_though_their_mtime_says_otherwise(logs, pace):
    make(logs, ["a.log", "b.log", "c.log"])
    os.utime(logs / "a.log", (0, 0))
    assert clean(logs, pace, keep=DAY).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 3


def test_links_hard_links_and_pipes_are_left_alone(logs, tmp_path, pace):
    precious = tmp_path / "precious"
    precious.write_text("x")
    (logs / "soft.log").symlink_to(precious)
    os.link(precious, logs / "hard.log")
    os.mkfifo(logs / "pipe.log")
    make(logs, ["a.log", "z.log"])
    clean(logs, pace)
    assert precious.read_text() == "x"
    assert {path.name for path in logs.iterdir()} == {"soft.log", "hard.log", "pipe.log", "z.log"}


def test_limits_of_number_and_share(logs, pace):
    make(logs, [f"{n}.log" for n in range(10)])
    assert clean(logs, pace, most=3).rows == 3
    assert clean(logs, pace, share=0.5).status is Status.SKIPPED
    assert len(list(logs.iterdir())) == 7


def test_a_file_that_changed_after_it_was_planned_stays(logs, pace):
    make(logs, ["a.log", "b.log"])
    wanted = rule(logs)
    files, _ = expired(wanted, time.time())
    (logs / files[0].name).unlink()
    make(logs, [files[0].name])
    outcome = FolderCleanup(wanted, files, "old").apply(None, pace)
    assert outcome.status is Status.INEFFECTIVE
    assert len(list(logs.iterdir())) == 2


def test_a_link_on_the_way_is_refused(logs, tmp_path):
    (tmp_path / "way").symlink_to(logs.parent)
    with pytest.raises(UnsafeFolderError, match="'way' is a link"):
        expired(rule(tmp_path / "way" / "log"), time.time())


def test_a_folder_that_anybody_may_write_to_is_refused(logs):
    logs.chmod(0o777)
    with pytest.raises(UnsafeFolderError, match="anybody may write"):
        expired(rule(logs), time.time())


def test_the_symlink_race_hits_no_foreign_file(logs, tmp_path, pace):
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
                clean(logs, pace)
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
