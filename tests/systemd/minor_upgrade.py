"""The patch unit in a booted Debian root, with a repository that offers the same packages newer.

Its tests depend on their order.
"""

import hashlib
import json
import re
import shutil

import pytest

from tests.systemd.conftest import CONFIG, MARKS, install
from tests.systemd.machine import run, wait_until

pytestmark = MARKS
PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5")
NEWER = "15.99-0+deb12u1"
QUIET = re.sub(r"\[schedules.often\].*?\n\[channels", "[channels", CONFIG, flags=re.DOTALL)
QUIET += '[schedules.night]\ncron = "0 2 29 2 *"\njobs = ["integrity_check", "disk_check"]\n'
BACKUP = '\n[checks.backup_age]\nfiles = "/var/backups/coop-*.dump"\n'
SETTINGS = 'apply = "postgresql-minor"\nmajors = [15]\ncron = "{cron}"\nwindow = "1h"\n'
OPEN = "* * * * *"
# systemd forgets the exit code of a unit that did not fail
PRINT_CODE = "[Service]\nExecStopPost=/bin/sh -c 'echo exit=$EXIT_STATUS'\n"


def report(text):
    print(f"    {text}")


def offer(root, version):
    """Put the cached packages into a repository of the root, under another version."""
    folder = root / "root/repository"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    entries = []
    for package in PACKAGES:
        (cached,) = (root / "var/cache/apt/archives").glob(f"{package}_*.deb")
        unpacked = folder / "unpacked"
        run("dpkg-deb", "-R", cached, unpacked)
        control = unpacked / "DEBIAN/control"
        text = re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text())
        control.write_text(text)
        built = folder / f"{package}.deb"
        run("dpkg-deb", "-Znone", "-b", unpacked, built)
        shutil.rmtree(unpacked)
        content = built.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        entries.append(
            f"{text.rstrip()}\nFilename: ./{built.name}\nSize: {len(content)}\nSHA256: {digest}\n"
        )
    (folder / "Packages").write_text("\n".join(entries))
    (root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/root/repository ./\n")


@pytest.fixture(scope="module")
def prepared(machine):
    if not (machine.root / "opt/sereno").exists():
        install(machine)
    drop_in = machine.root / "etc/systemd/system/sereno-patch.service.d"
    drop_in.mkdir()
    (drop_in / "code.conf").write_text(PRINT_CODE)
    machine.run("systemctl daemon-reload")
    write_settings(machine, OPEN)
    configure(machine, QUIET)
    machine.run("chmod 755 /root")  # apt reads the repository as its own user
    offer(machine.root, NEWER)
    return machine


def configure(machine, text):
    (machine.root / "etc/sereno/config.toml").write_text(text)
    machine.run("systemctl restart sereno")


def write_settings(machine, cron):
    (machine.root / "etc/sereno/patch.toml").write_text(SETTINGS.format(cron=cron))


def look(machine):
    """Run the checks of a night."""
    for job in ("integrity_check", "disk_check"):
        machine.sereno(f"now {job}")
    machine.run("chown --recursive sereno: /var/lib/sereno")


def start(machine):
    """Start the unit and return its exit code and its last line."""
    before = len(machine.journal("sereno-patch.service"))
    machine.run("systemctl start sereno-patch", timeout=300)
    messages = [one["MESSAGE"] for one in machine.journal("sereno-patch.service")][before:]
    # a message with control characters, like apt's progress, is a list of bytes
    lines = [one for one in messages if isinstance(one, str)]
    codes = [one for line in lines for one in re.findall(r"^exit=(\d+)$", line)]
    said = [line for line in lines if line.startswith(("finished", "skipped", "failed", "not now"))]
    report(said[-1][:300])
    return int(codes[-1]), said[-1]


def version(machine):
    return machine.run("dpkg-query -W -f '${Version}' postgresql-15").stdout


def started(machine):
    return machine.sql("SELECT pg_postmaster_start_time()", "postgres")


def runs(machine):
    return json.loads(machine.sereno("history --json"))


def test_nothing_is_installed_outside_the_window(prepared):
    before = version(prepared)
    hour = int(prepared.run("date -u +%H").stdout)
    write_settings(prepared, f"0 {(hour + 12) % 24} * * *")
    code, said = start(prepared)
    assert (code, version(prepared)) == (3, before)
    assert "outside the window" in said
    write_settings(prepared, OPEN)


def test_nothing_is_installed_without_a_backup(prepared):
    before = version(prepared)
    look(prepared)
    code, said = start(prepared)
    assert (code, version(prepared)) == (75, before)
    assert "no backup is known to sereno" in said
    (run_of_unit,) = [one for one in runs(prepared) if one["job"] == "minor_upgrade"]
    assert run_of_unit["state"] == "skipped"


def test_nothing_is_installed_while_checks_are_red(prepared):
    before = version(prepared)
    (prepared.root / "var/backups/coop-1.dump").write_bytes(b"x" * 1000)
    prepared.run("touch -d '1 hour ago' /var/backups/coop-1.dump")
    configure(prepared, QUIET + BACKUP)
    prepared.sql("CREATE TABLE public.t (a int); CREATE POLICY p ON public.t")
    look(prepared)
    code, said = start(prepared)
    assert (code, version(prepared)) == (75, before)
    assert "policies_not_enabled" in said
    prepared.sql("DROP TABLE public.t")
    look(prepared)


def test_only_root_may_write_the_settings(prepared):
    before = version(prepared)
    prepared.run("chmod g+w /etc/sereno/patch.toml")
    prepared.run("systemctl start sereno-patch", check=False)
    assert (prepared.show("ExecMainStatus", "sereno-patch"), version(prepared)) == ("78", before)
    prepared.run("chmod g-w /etc/sereno/patch.toml; systemctl reset-failed sereno-patch")


def test_minor_release_is_installed_in_its_window(prepared):
    before, was_started = version(prepared), started(prepared)
    code, said = start(prepared)
    assert (code, version(prepared)) == (0, NEWER)
    assert f"postgresql-15 {before} → {NEWER}" in said
    assert started(prepared) > was_started
    program = prepared.run(
        "readlink /proc/$(head -1 /var/lib/postgresql/15/main/postmaster.pid)/exe"
    ).stdout
    assert program == "/usr/lib/postgresql/15/bin/postgres\n"
    run_of_unit = next(one for one in runs(prepared) if one["job"] == "minor_upgrade")
    shown = prepared.sereno(f"history {run_of_unit['id']}")
    assert run_of_unit["state"] == "finished"
    assert "15/main" in shown
    report(shown.replace("\n", "\n    "))
    assert "paused" not in prepared.sereno("status").splitlines()[0]
    assert prepared.show("ActiveState") == "active"
    marked = prepared.run("apt-mark showauto libpq5").stdout
    report(f"libpq5 is still a dependency: {marked.strip() or 'no, it never was'}")


def test_package_that_does_not_restart_its_server_leaves_that_to_the_unit(prepared):
    offer(prepared.root, "15.100-0+deb12u1")
    policy = prepared.root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    was_started = started(prepared)
    code, _ = start(prepared)
    assert (code, version(prepared)) == (0, "15.100-0+deb12u1")
    assert started(prepared) > was_started
    assert "restart 15/main" in prepared.run("journalctl -u sereno-patch -o cat").stdout
    policy.unlink()


def test_another_major_version_is_refused(prepared):
    before = version(prepared)
    offer(prepared.root, "16.1-1")
    code, said = start(prepared)
    assert (code, version(prepared)) == (75, before)
    assert "is not a minor release of 15" in said


def test_failing_installation_is_an_alert(prepared):
    offer(prepared.root, "15.101-0+deb12u1")
    broken = prepared.root / "root/repository/libpq5.deb"
    content = bytearray(broken.read_bytes())
    content[-5000:-4000] = b"x" * 1000
    broken.write_bytes(content)
    code, _ = start(prepared)
    assert code == 1
    tickets = prepared.root / "root/tickets"
    wait_until(
        lambda: tickets.exists() and b"minor_upgrade" in tickets.read_bytes(), 30, "the ticket"
    )
    assert prepared.sql("SELECT 'running'", "postgres") == "running"


def test_timer_looks_and_window_decides(prepared):
    prepared.run("systemctl start sereno-patch.timer")
    assert prepared.show("ActiveState", "sereno-patch.timer") == "active"
