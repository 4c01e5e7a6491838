"""The check `backup_age` with pgBackRest on a server, with files, and without anything."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.fixtures.servers import Database


def steps_and_findings(house):
    house.exclude = ["risky_setting"]
    ran = house.run("integrity_check")
    (step,) = [one for one in ran["steps"] if one["object"] == "backup_age"]
    return step, [one for one in ran["findings"] if one["kind"] == "backup_age"]


def test_without_configuration_it_says_once_that_no_backup_is_known(house):
    house.with_logins = False
    _, (found,) = steps_and_findings(house)
    assert (found["severity"], found["object"]) == ("info", "backups")
    assert "no backup is known to sereno: set checks.backup_age.tool" in found["summary"]


def test_old_dump_is_found_until_a_new_one_is_written(house, tmp_path):
    house.with_logins = False
    house.extra = f"[checks.backup_age]\nfiles = '{tmp_path}/*.dump'\n"
    _, (found,) = steps_and_findings(house)
    assert (found["severity"], found["summary"]) == ("high", "no backup")
    dump = tmp_path / "coop.dump"
    dump.write_bytes(b"x" * 1000)
    three_days_ago = time.time() - 72 * 3600
    os.utime(dump, (three_days_ago, three_days_ago))
    _, (found,) = steps_and_findings(house)
    assert (found["severity"], found["summary"]) == ("high", f"{dump}, 72 hours old")
    following = tmp_path / "next.dump"
    following.write_bytes(b"x" * 900)
    hour_ago = time.time() - 3600
    os.utime(following, (hour_ago, hour_ago))
    assert steps_and_findings(house)[1] == []


@pytest.mark.parametrize(
    ("tool", "status", "reason"),
    [
        ("wal-g", "skipped", "wal-g is not on this host"),
        ("rsync", "failed", "'rsync' is not one of pgbackrest, barman, wal-g"),
    ],
)
def test_program_that_cannot_be_asked(house, monkeypatch, tool, status, reason):
    monkeypatch.setenv("PATH", "/nowhere")
    house.with_logins = False
    house.extra = f'[checks.backup_age]\ntool = "{tool}"\n'
    step, found = steps_and_findings(house)
    assert (step["status"], found) == (status, [])
    assert reason in step["reason"]


@pytest.fixture
def backed_up(scratch, tmp_path, monkeypatch):
    """A server with a stanza of pgBackRest, whose configuration the environment names."""
    if not shutil.which("pgbackrest"):
        pytest.skip("pgbackrest is not installed (Debian package pgbackrest)")
    folder = scratch / f"backup-{tmp_path.name}"
    folder.mkdir(mode=0o755)
    settings = {"archive_mode": "on", "archive_command": "true"}
    known = Path("/usr/lib/postgresql/15/bin")  # older releases of pgBackRest know no newer server
    binaries = known if known.is_dir() else embedded_binaries()
    cluster = Cluster(folder, binaries, settings).create().start()
    shutil.chown(folder, cluster.run_as() or os.getuid())
    configuration = folder / "pgbackrest.conf"
    configuration.write_text(
        f"[global]\nrepo1-path={folder}/repo\nlog-path={folder}\nlock-path={folder}/lock\n"
        f"archive-check=n\nstart-fast=y\nrepo1-retention-full=9\n[main]\npg1-path={cluster.data}\n"
        f"pg1-socket-path={cluster.socket}\npg1-port={cluster.port}\npg1-user=postgres\n"
    )
    monkeypatch.setenv("PGBACKREST_CONFIG", str(configuration))

    def pgbackrest(*arguments):
        command = ["pgbackrest", "--stanza=main", *arguments]
        done = subprocess.run(command, capture_output=True, check=False, user=cluster.run_as())
        if b"unsupported" in done.stdout + done.stderr:
            pytest.skip("the installed pgbackrest does not know this server")
        assert done.returncode == 0, done.stderr

    yield cluster, pgbackrest
    cluster.stop("immediate")


def test_backups_of_pgbackrest_are_listed(backed_up, make_house, tmp_path):
    cluster, pgbackrest = backed_up
    database = Database(cluster, "postgres")
    house = make_house(tmp_path, database)
    house.with_logins = False
    house.extra = '[checks.backup_age]\ntool = "pgbackrest"\nserver = "main"\n'
    _, (found,) = steps_and_findings(house)
    assert found["summary"] == "no backup"
    pgbackrest("stanza-create")
    pgbackrest("backup", "--type=full")
    step, found = steps_and_findings(house)
    assert (step["status"], found) == ("done", [])
    house.extra += "warning = 0\nhigh = 1\n"
    _, (found,) = steps_and_findings(house)
    assert (found["severity"], found["object"]) == ("warning", "pgbackrest main")
    database.admin.close()
