"""The job `security_patches`: a real apt-get on a repository of files, and a real server."""

import os
import shutil
from dataclasses import replace

import pytest

from checks import programs
from domain.task import Scope
from jobs.steps import read_updates

INSTALLED = """\
Package: libsample
Status: install ok installed
Architecture: all
Version: 1.0
Maintainer: Nobody <nobody@example.invalid>
Description: a sample

"""
OFFERED = """\
Package: libsample
Architecture: all
Version: 1.1
Maintainer: Nobody <nobody@example.invalid>
Filename: ./libsample_1.1_all.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: a sample

"""


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An apt of its own: one package is installed, and a security repository offers a newer one."""
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get on this machine")
    root, repository = tmp_path / "apt", tmp_path / "repository"
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (root / folder).mkdir(parents=True)
    repository.mkdir()
    (root / "status").write_text(INSTALLED)
    (repository / "Packages").write_text(OFFERED)
    (repository / "Release").write_text(
        "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nArchitectures: all amd64\n"
    )
    (root / "etc/sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    configuration = root / "apt.conf"
    configuration.write_text(
        f'Dir "{root}/"; Dir::State "{root}/state"; Dir::State::status "{root}/status";\n'
        f'Dir::Cache "{root}/cache"; Dir::Etc "{root}/etc"; Dir::Etc::parts "none";\n'
        'Dir::Etc::main "none"; Dir::Etc::sourceparts "none"; APT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    assert programs.ask(("apt-get", "update"), 60.0).wrong == ""
    return root


@pytest.fixture
def host(house):
    """Return a function that runs the job on the host and returns its findings."""
    house.with_logins = False

    def run(context=None):
        ran = house.run("security_patches", Scope.HOST, context=context)
        assert [step["status"] for step in ran["steps"]] == ["done"], ran["steps"]
        return {one["kind"]: one for one in ran["findings"] if one["kind"] == "os_security_updates"}

    return run


def test_pending_security_update_is_found_until_it_is_installed(apt, host):
    found = host()["os_security_updates"]
    assert (found["severity"], found["object"]) == ("warning", "security updates")
    assert "1 for 0 days: libsample 1.1" in found["summary"]
    status = apt / "status"
    status.write_text(INSTALLED.replace("Version: 1.0", "Section: misc\nVersion: 1.1"))
    later = status.stat().st_mtime + 9
    os.utime(status, (later, later))  # apt reads a file again whose time has changed
    assert host() == {}


def test_update_of_another_archive_is_no_security_update(apt, host):
    for release in (apt / "state/lists").glob("*Release"):
        release.write_text("Origin: Debian\nLabel: Debian\nSuite: stable\n")
    assert host() == {}


def test_unreadable_lists_are_a_failure(apt, house):
    house.with_logins = False
    (apt / "etc/sources.list").write_text("this is no source\n")
    (step,) = house.run("security_patches", Scope.HOST)["steps"]
    assert step["status"] == "failed"
    assert step["reason"].startswith("apt-get: E: ")


def test_host_without_a_package_manager_is_skipped(house, monkeypatch):
    house.with_logins = False
    monkeypatch.setenv("PATH", "/nowhere")
    (step,) = house.run("security_patches", Scope.HOST)["steps"]
    assert (step["status"], step["reason"]) == (
        "skipped",
        "neither apt-get nor dnf is on this host",
    )


def test_release_of_a_server_is_looked_at(any_house):
    any_house.with_logins = False
    ran = any_house.run("security_patches", Scope.DATABASE)
    assert [(step["object"], step["status"]) for step in ran["steps"]] == [("release", "done")]
    major = any_house.database.admin.info.server_version // 10000
    for one in ran["findings"]:
        assert one["kind"] in {"server_behind", "server_end_of_life", "server_not_restarted"} or (
            one["kind"] == "releases_unknown"
        )
        assert str(major) in one["summary"] or one["kind"] == "releases_unknown"


def test_lists_that_are_not_refreshed_are_a_finding(apt, house, monkeypatch):
    """Their age is that of the folder: the files have the time of the archive."""
    house.with_logins = False
    old = tuple(
        one if one.program != "apt-get" else _with_lists(one, apt / "state/lists")
        for one in read_updates.MANAGERS
    )
    monkeypatch.setattr(read_updates, "MANAGERS", old)
    kinds = [one["kind"] for one in house.run("security_patches", Scope.HOST)["findings"]]
    assert "package_lists_old" in kinds


def _with_lists(manager, folder):
    os.utime(folder, (0, 0))
    return replace(manager, lists=(str(folder),))
