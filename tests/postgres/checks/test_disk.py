import os
import subprocess

import pytest

from checks.disk import CHECK, Folder
from checks.judge import judge
from domain.place import Place

DEFAULTS = {name: option.default for name, option in CHECK.header.options.items()}


@pytest.fixture
def small_mount(tmp_path):
    """A tmpfs of four megabytes and 100 inodes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=100", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def findings(folder, **options):
    values = {**DEFAULTS, **options, "folders": (Folder("data directory", str(folder)),)}
    return judge(CHECK.header, CHECK.look(None, values), values, Place("test"))


def test_free_disk_space_below_threshold_is_found(small_mount):
    assert findings(small_mount) == ()
    (small_mount / "file").write_bytes(b"x" * int(3.95 * 1024**2))
    (finding,) = findings(small_mount)
    assert (finding.severity, finding.identity.object) == ("critical", str(small_mount))
    assert "data directory" in finding.summary


def test_low_free_ratio_above_size_threshold_is_not_found(small_mount):
    (small_mount / "file").write_bytes(b"x" * int(3.9 * 1024**2))
    assert findings(small_mount, warning_free_gb=0, high_free_gb=0, critical_free_gb=0) == ()


def test_free_inodes_below_threshold_are_found(small_mount):
    for n in range(96):
        (small_mount / str(n)).touch()
    (finding,) = findings(small_mount)
    assert (finding.severity, finding.identity.object) == ("critical", f"{small_mount} (inodes)")


def test_missing_folder_is_info_finding():
    (finding,) = findings("/no/such/folder")
    assert (finding.severity, "No such file" in finding.summary) == ("info", True)


def test_job_checks_folders_of_server(house):
    house.with_logins = False
    run = house.run("disk_check")
    assert run["state"] == "finished"
    assert run["steps"][0]["rows"] >= 1 + (os.statvfs(house.folder).f_files > 0)


def test_unreachable_server_does_not_stop_host_checks(house):
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
