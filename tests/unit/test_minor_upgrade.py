"""The patch unit's settings, its reading of dpkg and apt, and its steps."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import programs
from daemon.patching import upgrade as upgrades
from daemon.patching.clusters import read_clusters
from daemon.patching.packages import (
    PackageUpgrade,
    RefusedError,
    installation,
    installed_packages,
    planned_upgrades,
    simulation,
)
from daemon.patching.service import Service
from daemon.patching.settings import PatchSettings, SettingsError, load_settings
from domain.calendar import parse_cron

INSTALLED = """\
install installed postgresql-15 libpq5 15.18-0+deb12u1
install installed postgresql-common postgresql 15+248+deb12u1
install installed postgresql-15 postgresql-15 15.18-0+deb12u1
hold installed postgresql-15 postgresql-client-15 15.18-0+deb12u1
deinstall config-files postgresql-15 postgresql-plperl-15 15.18-0+deb12u1
install installed postgresql-17 postgresql-17 17.6-0+deb13u1
install installed postgis postgresql-15-postgis-3 3.3.2
"""
SIMULATED = """\
Reading package lists...
The following packages will be upgraded:
  libpq5 postgresql-15
Inst libpq5 [15.18-0+deb12u1] (15.20-0+deb12u1 Debian-Security:12/oldstable-security [amd64]) []
Inst postgresql-15 [15.18-0+deb12u1] (15.20-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
Conf libpq5 (15.20-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
"""
KNOWN = ("libpq5", "postgresql-15")


def test_installed_packages_are_those_of_the_servers_own_source():
    assert installed_packages(INSTALLED, 15) == ["libpq5", "postgresql-15"]
    assert installed_packages(INSTALLED, 17) == ["postgresql-17"]
    assert installed_packages(INSTALLED, 16) == []


def test_planned_upgrades_name_the_exact_versions():
    planned = planned_upgrades(SIMULATED, KNOWN, 15)
    assert planned == [
        PackageUpgrade("libpq5", "15.18-0+deb12u1", "15.20-0+deb12u1"),
        PackageUpgrade("postgresql-15", "15.18-0+deb12u1", "15.20-0+deb12u1"),
    ]
    command = installation(planned)
    assert command[-2:] == ("libpq5=15.20-0+deb12u1", "postgresql-15=15.20-0+deb12u1")
    assert {"--only-upgrade", "--no-remove"} <= set(command)
    assert "--no-remove" not in simulation(KNOWN)  # a removal is shown, and refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Remv postgresql-15-postgis-3 [3.3.2]", "would remove postgresql-15-postgis-3"),
        ("Inst openssl [3.0.17-1] (3.0.19-1 Debian:12/stable [amd64])", "also change openssl"),
        ("Inst postgresql-16 (16.1-1 Debian:12/stable [amd64])", "also change postgresql-16"),
        ("Inst libpq5 (15.20-0 Debian:12/stable [amd64])", "also change libpq5"),
        ("Inst postgresql-15 [15.18-1] (16.1-1 x [amd64])", "is not a minor release of 15"),
        ("Inst postgresql-15 [15.18-1] (1:16.1-1 x [amd64])", "is not a minor release of 15"),
        ("Inst postgresql-15 [15.18-1] (150.1-1 x [amd64])", "is not a minor release of 15"),
        ("Inst postgresql-15:i386 [15.18-1] (18.1 x [i386])", "is not a minor release of 15"),
    ],
)
def test_anything_but_a_minor_release_of_known_packages_is_refused(line, reason):
    with pytest.raises(RefusedError, match=reason):
        planned_upgrades(SIMULATED + line, KNOWN, 15)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        planned = planned_upgrades(text, KNOWN, 15)
    except RefusedError:
        return
    assert {one.package for one in planned} <= set(KNOWN)


def write(tmp_path, text, mode=0o600):
    path = tmp_path / "patch.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


GOOD = (
    'apply = "postgresql-minor"\nmajors = [15]\ncron = "0 4 * * sun"\ntimezone = "America/La_Paz"\n'
)


@pytest.mark.parametrize(
    ("instant", "is_open"),
    [
        ("2026-11-29T07:59:59+00:00", False),
        ("2026-11-29T08:00:00+00:00", True),  # 04:00 in La Paz
        ("2026-11-29T09:59:59+00:00", True),
        ("2026-11-29T10:00:00+00:00", False),
        ("2026-11-30T08:30:00+00:00", False),
    ],
)
def test_window_is_open_from_its_due_time_for_its_length(tmp_path, instant, is_open):
    settings = load_settings(write(tmp_path, GOOD))
    due = settings.open_window(datetime.fromisoformat(instant))
    assert (due is not None) == is_open
    if due:
        assert due.nominal == datetime(2026, 11, 29, 4, 0)  # noqa: DTZ001 - nominal


@pytest.mark.parametrize(
    ("text", "mode", "mistake"),
    [
        (GOOD, 0o620, "chmod go-w"),
        (GOOD, 0o602, "chmod go-w"),
        (GOOD.replace("majors = [15]\n", ""), 0o600, "majors: is required to apply"),
        (GOOD.replace("postgresql-minor", "all"), 0o600, "apply: "),
        (GOOD.replace("0 4 * * sun", "0 4 * *"), 0o600, "cron: "),
        (GOOD + 'windwo = "1h"\n', 0o600, "windwo: .*did you mean .*window"),
        (GOOD + 'window = "30m"\n', 0o600, "window: must be at least 35 minutes"),
        (GOOD.replace("[15]", '["15"]'), 0o600, "majors"),
        (GOOD.replace("[15]", "[9]"), 0o600, "majors"),
        ("apply =", 0o600, "is not TOML: "),
    ],
)
def test_unusable_settings_name_file_and_mistake(tmp_path, text, mode, mistake):
    path = write(tmp_path, text, mode)
    with pytest.raises(SettingsError, match=rf"(?s){path}:.*{mistake}"):
        load_settings(path)


def test_settings_that_are_no_file_of_root_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "missing.toml")
    write(tmp_path, GOOD)
    (tmp_path / "link.toml").symlink_to(tmp_path / "patch.toml")
    with pytest.raises(SettingsError):
        load_settings(tmp_path / "link.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SettingsError, match="is not a file"):
        load_settings(tmp_path / "pipe.toml")


@pytest.mark.parametrize("quote", ['"', ""])  # as Perl likes
def test_clusters_of_other_major_versions_are_left_alone(quote):
    one = f'{{"version":{quote}%s{quote},"cluster":"main","port":"5432","socketdir":"/run","pgdata":"/d","running":1}}'
    text = "[" + ",".join([one % 15, one % 17]) + "]"
    (cluster,) = read_clusters(text, [15])
    assert str(cluster) == "15/main"
    assert cluster.restart_command() == ("pg_ctlcluster", "15", "main", "restart")
    assert not cluster.runs_replaced_program()
    with pytest.raises(ValueError, match="pg_lsclusters"):
        read_clusters('[{"version": "15"}]', [15])
    with pytest.raises(ValueError, match="Expecting"):
        read_clusters("Error", [15])


class Objecting:
    """A service that answers the same each time."""

    def __init__(self, *found):
        self.found = found

    def objections(self, *, hold):
        assert hold
        return self.found


def attempt(monkeypatch, service, *, fail="", clock=None, ports=()):
    """Run an upgrade whose commands are recorded instead of run; one of them may fail."""
    ran = []

    def execute(command):
        ran.append(" ".join(command))
        if fail and fail in ran[-1]:
            raise upgrades.StoppedError(f"{command[0]} ended with exit code 100")

    answers = {"dpkg-query": INSTALLED, "apt-get": SIMULATED, "apt-mark": "libpq5\n"}
    answers["pg_lsclusters"] = json.dumps(
        [
            {
                "version": 15,
                "cluster": port,
                "port": port,
                "socketdir": "/",
                "pgdata": "/d",
                "running": 1,
            }
            for port in ports
        ]
    )
    monkeypatch.setattr(upgrades, "execute", execute)
    monkeypatch.setattr(upgrades, "output", lambda command: answers[command[0]])
    settings = PatchSettings(
        apply="postgresql-minor",
        majors=(15,),
        cron=parse_cron("0 4 * * *"),
        window=timedelta(hours=1),
    )
    now = datetime(2026, 11, 29, 4, 10, tzinfo=UTC)
    upgrade = upgrades.Upgrade(settings, service, clock or (lambda: now), lambda _: None)
    return upgrade.run(settings.open_window(now)), ran


def test_steps_of_an_upgrade_are_reported_in_order(monkeypatch):
    report, ran = attempt(monkeypatch, Objecting())
    assert (report.state, [(one.name, one.status) for one in report.steps]) == (
        "finished",
        [("refresh", "done"), ("upgrade", "done")],
    )
    assert "postgresql-15 15.18-0+deb12u1 → 15.20-0+deb12u1" in report.reason
    upgraded = "postgresql-15 15.18-0+deb12u1 → 15.20-0+deb12u1 and 1 more"
    assert report.steps[1].object == upgraded
    assert [one.split()[0] for one in ran[:3]] == ["apt-get", "apt-get", "apt-mark"]
    assert report.has_installed


def test_objection_stops_before_anything_is_installed(monkeypatch):
    report, ran = attempt(monkeypatch, Objecting("backup_age: no backup is known"))
    assert (report.state, len(ran), report.has_installed) == ("skipped", 1, False)
    assert "backup_age: no backup is known" in report.reason


def test_window_that_ends_before_the_installation_stops_it(monkeypatch):
    times = iter(
        [datetime(2026, 11, 29, 4, 10, tzinfo=UTC), datetime(2026, 11, 29, 5, 0, tzinfo=UTC)]
    )
    report, ran = attempt(monkeypatch, Objecting(), clock=lambda: next(times))
    assert (report.state, len(ran)) == ("skipped", 1)
    assert report.reason.endswith("the window has ended")


@pytest.mark.parametrize(
    ("fail", "steps", "state"), [("update", 1, "skipped"), ("postgresql-15=", 2, "failed")]
)
def test_failed_step_ends_the_upgrade(monkeypatch, fail, steps, state):
    """Before anything is installed it prevents only this attempt."""
    report, ran = attempt(monkeypatch, Objecting(), fail=fail)
    assert (report.state, len(report.steps)) == (state, steps)
    assert report.steps[-1].status == "failed"
    assert "exit code 100" in report.reason
    assert fail in ran[-1]


def test_every_server_is_asked_although_one_does_not_answer(monkeypatch):
    asked = []

    def ask(command, _seconds):
        asked.append(command[-1])
        return programs.Answer(2, wrong="exit code 2") if command[-1] == "1" else programs.Answer(0)

    monkeypatch.setattr(upgrades.programs, "ask", ask)
    monkeypatch.setattr(upgrades, "ANSWER_SECONDS", 0.0)
    report, _ = attempt(monkeypatch, Objecting(), ports=("1", "2"))
    assert report.state == "failed"
    assert report.reason == "answer 15/1: the server does not answer; its log says why"
    assert [(one.object, one.status) for one in report.steps[-2:]] == [
        ("15/1", "failed"),
        ("15/2", "done"),
    ]
    assert asked == ["1", "2"]


def test_service_that_cannot_be_asked_objects():
    (objection,) = Service("no_such_user_here").objections(hold=False)
    assert "there is no user 'no_such_user_here'" in objection
