"""The service under systemd, in a booted Debian root, installed as in systemd/README.md.

`make systemd-test` runs it; `make test` does not, as it needs root, debootstrap, systemd-nspawn
and several minutes. Its tests depend on their order.
"""

import json
import time

from tests.systemd.conftest import CONFIG, MARKS, install
from tests.systemd.machine import wait_until

pytestmark = MARKS


def report(text):
    print(f"    {text}")


def test_service_installed_by_readme_commands_is_active_when_ready(machine):
    for command in install(machine):
        report(command)
    assert machine.show("ActiveState") == "active"
    assert machine.show("Type") == "notify"
    report(f"ActiveState=active StatusText={machine.show('StatusText')}")
    assert "next: often" in machine.show("StatusText")


def test_units_pass_verify_and_exposure_threshold(machine):
    machine.run("systemd-analyze verify /etc/systemd/system/sereno.service /etc/systemd/system/sereno-failed@x.service /etc/systemd/system/sereno-check@main.service /etc/systemd/system/sereno-worker@w1.service /etc/systemd/system/sereno-patch.service /etc/systemd/system/sereno-patch.timer")  # fmt: skip
    for unit in (
        "sereno.service",
        "sereno-failed@x.service",
        "sereno-check@main.service",
        "sereno-worker@w1.service",
    ):
        exposure = machine.run(
            f"systemd-analyze security --no-pager --threshold=12 {unit}"
        ).stdout.splitlines()[-1]
        report(exposure.strip("→ "))


def test_credentials_are_readable_by_service_only(machine):
    pid = machine.show("MainPID")
    wait_until(
        lambda: '"finished"' in machine.sereno("history --json"),
        75,
        "a run with the password of the credential",
    )
    folder = machine.run(
        f"tr '\\0' '\\n' < /proc/{pid}/environ | grep ^CREDENTIALS_DIRECTORY= | cut -d= -f2"
    ).stdout.strip()
    for user in ("nobody", "postgres"):
        refused = machine.run(f"runuser -u {user} -- cat {folder}/maintain", check=False)
        assert "Permission denied" in refused.stderr
        assert (
            "Permission denied"
            in machine.run(
                f"runuser -u {user} -- cat /etc/sereno/credentials/maintain", check=False
            ).stderr
        )
    report(f"{folder}/maintain: a run has used it; nobody and postgres cannot read it")
    text = machine.run("journalctl --no-pager -o cat; cat /proc/*/environ | tr '\\0' '\\n'").stdout
    assert "secret-" not in text


def test_health_report_has_charts_in_sandbox(machine):
    (page,) = wait_until(
        lambda: list((machine.root / "var/lib/sereno/reports").glob("*.html")),
        30,
        "the health report",
    )
    assert "data:image/png" in page.read_text()
    report(f"reports/{page.name}: {page.stat().st_size // 1024} kB, with charts")


def test_journal_has_json_lines_with_priorities(machine):
    lines = [line for line in machine.journal() if line.get("_SYSTEMD_UNIT") == "sereno.service"]
    events = {json.loads(line["MESSAGE"])["event"] for line in lines}
    assert {"service.started", "run.finished"} <= events
    assert {line["PRIORITY"] for line in lines} <= {"6", "4"}
    report(lines[0]["MESSAGE"])


def test_reload_applies_valid_configuration_and_refuses_invalid_one(machine):
    path = machine.root / "etc/sereno/config.toml"
    path.write_text(CONFIG + '[schedules.weekly]\ncron = "0 3 * * sun"\njobs = ["health_report"]\n')
    machine.run("systemctl reload sereno")
    wait_until(lambda: "service.reloaded" in machine.journal()[-1]["MESSAGE"] or any("service.reloaded" in line["MESSAGE"] for line in machine.journal()), 10, "the reload")  # fmt: skip
    pid = machine.show("MainPID")
    path.write_text(CONFIG.replace("* * * * *", "* * * *"))
    machine.run("systemctl reload sereno")
    refused = wait_until(
        lambda: [line for line in machine.journal() if "reload.refused" in line["MESSAGE"]],
        10,
        "the refusal",
    )
    assert refused[0]["PRIORITY"] == "3"
    assert (machine.show("ActiveState"), machine.show("MainPID")) == ("active", pid)
    report(json.loads(refused[0]["MESSAGE"])["error"])
    path.write_text(CONFIG)
    machine.run("systemctl reload sereno")


def test_stop_during_vacuum_is_clean_and_cluster_keeps_running(machine):
    machine.sql(
        "ALTER DATABASE coop SET vacuum_cost_delay = 10; ALTER DATABASE coop SET vacuum_cost_limit = 1"
    )
    machine.sql("CREATE ROLE shop; CREATE TABLE public.big (a int) WITH (autovacuum_enabled = off); ALTER TABLE public.big OWNER TO shop; GRANT shop TO sereno_maintain")  # fmt: skip
    machine.sql("INSERT INTO public.big SELECT generate_series(1, 400000)")
    machine.sql("DELETE FROM public.big WHERE a % 2 = 0")
    vacuuming = "SELECT count(*) FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'sereno/vacuum'"
    wait_until(lambda: machine.sql(vacuuming) == "1", 90, "a VACUUM")
    status = wait_until(
        lambda: "vacuum main" in machine.show("StatusText") and machine.show("StatusText"),
        15,
        "the status",
    )
    report(f"StatusText={status}")
    began = time.monotonic()
    machine.run("systemctl stop sereno")
    seconds = time.monotonic() - began
    assert seconds < 10
    assert (
        machine.show("ActiveState"),
        machine.show("Result"),
        machine.show("ExecMainStatus"),
    ) == (
        "inactive",
        "success",
        "0",
    )
    assert machine.sql(vacuuming) == "0"
    assert '"interrupted"' in machine.sereno("history --json")
    assert machine.sql("SELECT 'running'") == "running"
    assert machine.show("ActiveState", "postgresql@15-main") == "active"
    report(
        f"systemctl stop during VACUUM: {seconds:.1f} s, Result=success, no backend left; the cluster takes new connections"
    )
    machine.sql("ALTER DATABASE coop RESET ALL")
    machine.run("systemctl start sereno")


def test_killed_service_is_restarted(machine):
    pid = machine.show("MainPID")
    machine.run(f"kill -9 {pid}")
    wait_until(
        lambda: (
            machine.show("MainPID") not in {pid, "0"} and machine.show("ActiveState") == "active"
        ),
        30,
        "the restart",
    )
    assert machine.show("NRestarts") == "1"
    report("kill -9: NRestarts=1, active again")


def test_watchdog_restarts_service_stopped_by_sigstop(machine):
    pid = machine.show("MainPID")
    began = time.monotonic()
    machine.run(f"kill -STOP {pid}")
    wait_until(
        lambda: (
            machine.show("MainPID") not in {pid, "0"} and machine.show("ActiveState") == "active"
        ),
        60,
        "the watchdog",
    )
    output = machine.run("journalctl -u sereno --no-pager -o cat").stdout
    assert "Watchdog timeout" in output
    report(
        f"kill -STOP: watchdog timeout (6 s here), active again after {time.monotonic() - began:.0f} s"
    )


def test_invalid_configuration_is_not_restarted_and_failure_is_notified(machine):
    tickets = machine.root / "root/tickets"
    tickets.unlink(missing_ok=True)
    (machine.root / "etc/sereno/config.toml").write_text(CONFIG + "[daemno]\n")
    machine.run("systemctl restart sereno", check=False)
    wait_until(lambda: machine.show("ActiveState") == "failed", 20, "the failed state")
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("78", "0")
    wait_until(
        lambda: tickets.exists() and b"service_failed" in tickets.read_bytes(), 40, "the ticket"
    )
    data = [
        json.loads(line)["data"]
        for line in tickets.read_text().splitlines()
        if "service_failed" in line
    ]
    report(
        f"exit 78, not restarted; the ticket, by the last good configuration: {data[0]['message']}"
    )
    (machine.root / "etc/sereno/config.toml").write_text(CONFIG)
    machine.run("systemctl reset-failed sereno; systemctl start sereno")
    wait_until(lambda: b'"resolved"' in tickets.read_bytes(), 30, "the resolved message")
