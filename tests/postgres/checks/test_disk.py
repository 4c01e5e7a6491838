import os
import subprocess

import pytest

from checks.disk import CHECK, Folder
from checks.judge import judge
from domain.place import Place

DEFAULTS = {name: option.default for name, option in CHECK.header.options.items()}


@pytest.fixture
def small(tmp_path):
    """A real mount of four megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=100", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def look(folder, **options):
    wanted = {**DEFAULTS, **options, "folders": (Folder("data directory", str(folder)),)}
    return judge(CHECK.header, CHECK.look(None, wanted), wanted, Place("test"))


def test_a_disk_fills_up(small):
    assert look(small) == ()
    (small / "file").write_bytes(b"x" * int(3.95 * 1024**2))
    (finding,) = look(small)
    assert (finding.severity, finding.identity.object) == ("critical", str(small))
    assert "data directory" in finding.summary


def test_a_share_alone_is_no_alarm_where_there_is_room(small):
    (small / "file").write_bytes(b"x" * int(3.9 * 1024**2))
    assert look(small, warning_free_gb=0, high_free_gb=0, critical_free_gb=0) == ()


def test_inodes_run_out(small):
    for n in range(96):
        (small / str(n)).touch()
    (finding,) = look(small)
    assert (finding.severity, finding.identity.object) == ("critical", f"{small} (inodes)")


def test_what_cannot_be_seen_is_named_and_no_alarm():
    (finding,) = look("/no/such/folder")
    assert (finding.severity, "No such file" in finding.summary) == ("info", True)


def test_the_job_looks_at_what_the_server_writes_to(house):
    house.with_logins = False
    run = house.run("disk_check")
    assert run["state"] == "finished"
    assert run["steps"][0]["rows"] >= 1 + (os.statvfs(house.folder).f_files > 0)


def test_a_server_that_is_down_hides_nothing_of_the_host(house):
    house.with_logins = False
    path = house.write()
    text = path.read_text()
    path.write_text(
        text[: text.index("dsn =")]
        + 'dsn = "host=127.0.0.1 port=1"\n'
        + text[text.index("[schedules") :]
    )
    house.write = lambda: path
    run = house.run("disk_check")
    assert run["state"] == "finished"
    assert any("the server cannot be asked" in finding["summary"] for finding in run["findings"])
