"""A real boot: a Debian root, the wheel installed by the README's commands, systemd as its first process, PostgreSQL beside.

`make systemd-test` runs it: it is no part of `make test`, for it needs root, debootstrap, systemd-nspawn and minutes.
Its steps build on each other.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,postgresql"
MISSING = [
    tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None
]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"needs {', '.join(MISSING)}: apt install debootstrap systemd-container",
    ),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root: a file system of its own is made and booted"
    ),
]

CONFIG = """
[daemon]
name = "boot"
listen = ""
[databases.main]
dsn = "host=127.0.0.1 dbname=coop"
maintain = { user = "sereno_maintain", password = { credential = "maintain" } }
data = { user = "sereno_data", password = { credential = "data" } }
[schedules.often]
cron = "* * * * *"
window = "10m"
jobs = ["vacuum", "health_report"]
[channels.ticket]
type = "webhook"
url = "http://127.0.0.1:8099/"
[routes]
high = ["ticket"]
critical = ["ticket"]
"""
SINK = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open("/root/tickets", "ab").write(body + b"\\n")
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"""
DROP_IN = """
[Service]
LoadCredential=maintain:/etc/sereno/credentials/maintain
LoadCredential=data:/etc/sereno/credentials/data
WatchdogSec=6
RestartSec=1
"""


def run(*words, timeout=600, check=True, **options):
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    assert not check or done.returncode == 0, (
        f"{' '.join(map(str, words))} → {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return done


class Machine:
    """The booted root; commands are run in all its namespaces."""

    def __init__(self, root):
        self.root = root
        self.console = open(root.parent / "console", "wb")  # noqa: PTH123, SIM115
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--private-network", "--register=no", "--keep-unit", "-D", root, "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.leader = None

    def boot(self):
        until(self._find, 30, "its first process")
        until(
            lambda: (
                self.run("systemctl is-system-running", check=False).stdout.strip()
                in {"running", "degraded"}
            ),
            90,
            "the boot",
        )

    def _find(self):
        children = (
            Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        )
        for child in children:
            if (
                Path(f"/proc/{child}/comm").read_text() == "systemd\n"
            ):  # not yet the helper that becomes it
                self.leader = child
        return self.leader

    def run(self, command, *, check=True, timeout=60):
        enter = [
            "nsenter",
            "-t",
            self.leader,
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "--",
            "/usr/bin/env",
            "-i",
        ]
        return run(*enter, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "sh", "-c", command, check=check, timeout=timeout)  # fmt: skip

    def show(self, name, unit="sereno"):
        return self.run(f"systemctl show -P {name} {unit}").stdout.strip()

    def sql(self, statement, database="coop"):
        return self.run(
            f"""runuser -u postgres -- psql -AtX -d {database} -c "{statement}" """
        ).stdout.strip()

    def sereno(self, words):
        command = f"CREDENTIALS_DIRECTORY=/etc/sereno/credentials /opt/sereno/bin/sereno {words}"
        return self.run(command, check=False).stdout

    def journal(self, unit="sereno"):
        lines = self.run(f"journalctl -u {unit} -o json --no-pager").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def stop(self):
        if self.leader:
            self.run("systemctl poweroff --force --force", check=False)
        self.nspawn.terminate()
        try:
            self.nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.console.close()


def until(condition, seconds=30, what="it"):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds} s"
        time.sleep(0.1)
    return value


def wheels(folder):
    """Build ours, and fetch what it needs, from the lock file."""
    uv = Path(sys.executable).parent / "uv"
    run(uv, "build", "--quiet", "--wheel", "--out-dir", folder, cwd=ROOT)
    needed = folder / "requirements.txt"
    run(
        uv,
        "export",
        "--quiet",
        "--frozen",
        "--no-dev",
        "--no-emit-project",
        "--no-hashes",
        "-o",
        needed,
        cwd=ROOT,
    )
    run(uv, "tool", "run", "--python", sys.executable, "pip", "download", "--quiet", "--only-binary=:all:", "--dest", folder, "-r", needed)  # fmt: skip


def installed(machine):
    """The commands of systemd/README.md, as they stand there; its own words say what is ours to write in between."""
    text = (ROOT / "systemd" / "README.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert len(commands) <= 6
    return commands


@pytest.fixture(scope="module")
def machine():
    folder = Path(tempfile.mkdtemp(prefix="sereno-boot-", dir="/var/tmp"))
    root = folder / "root"
    made = os.environ.get("SERENO_TEST_ROOT")
    if made and Path(made).exists():
        run("cp", "-a", made, root)
    else:
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root, *filter(None, [os.environ.get("SERENO_TEST_MIRROR")]))  # fmt: skip
        if made:
            run("cp", "-a", root, made)
    wheels(root / "root")
    (root / "etc/systemd/system/sink.service").write_text(
        "[Service]\nExecStart=/usr/bin/python3 /root/sink.py\n[Install]\nWantedBy=multi-user.target\n"
    )
    (root / "root/sink.py").write_text(SINK)
    (root / "etc/systemd/system/multi-user.target.wants").mkdir(exist_ok=True)
    (root / "etc/systemd/system/multi-user.target.wants/sink.service").symlink_to(
        "/etc/systemd/system/sink.service"
    )
    booted = Machine(root)
    try:
        booted.boot()
        yield booted
    finally:
        booted.stop()
        shutil.rmtree(folder, ignore_errors=True)


def note(text):
    print(f"    {text}")


def test_installed_by_six_commands_it_is_active_when_it_is_ready(machine):
    commands = installed(machine)
    machine.sql("CREATE DATABASE coop", "postgres")
    for command in commands:
        if "systemctl" in command:  # what is the operator's to write comes before it is started
            (machine.root / "etc/sereno/config.toml").write_text(CONFIG)
            for name in ("maintain", "data"):
                (machine.root / f"etc/sereno/credentials/{name}").write_text(f"secret-{name}\n")
            for unit in ("sereno.service.d", "sereno-failed@.service.d"):
                (machine.root / "etc/systemd/system" / unit).mkdir()
                (machine.root / "etc/systemd/system" / unit / "site.conf").write_text(DROP_IN)
            machine.sql("ALTER USER postgres PASSWORD 'admin'", "postgres")
            said = machine.run("CREDENTIALS_DIRECTORY=/etc/sereno/credentials /opt/sereno/bin/sereno install main --admin 'host=127.0.0.1 dbname=coop user=postgres password=admin'")  # fmt: skip
            assert "secret" not in said.stdout + said.stderr
        note(command)
        machine.run(command, timeout=300)
    assert machine.show("ActiveState") == "active"
    assert machine.show("Type") == "notify"
    note(f"ActiveState=active StatusText={machine.show('StatusText')}")
    assert "next: often" in machine.show("StatusText")


def test_units_are_clean_and_closed(machine):
    machine.run("systemd-analyze verify /etc/systemd/system/sereno.service /etc/systemd/system/sereno-failed@x.service /etc/systemd/system/sereno-check@main.service")  # fmt: skip
    for unit in ("sereno.service", "sereno-failed@x.service", "sereno-check@main.service"):
        said = machine.run(
            f"systemd-analyze security --no-pager --threshold=12 {unit}"
        ).stdout.splitlines()[-1]
        note(said.strip("→ "))


def test_secrets_are_the_services_alone(machine):
    pid = machine.show("MainPID")
    until(
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
    note(f"{folder}/maintain: a run has used it; nobody and postgres may not read it")
    text = machine.run("journalctl --no-pager -o cat; cat /proc/*/environ | tr '\\0' '\\n'").stdout
    assert "secret-" not in text


def test_the_letter_is_drawn_behind_these_walls(machine):
    (page,) = until(
        lambda: list((machine.root / "var/lib/sereno/reports").glob("*.html")), 30, "the letter"
    )
    assert "data:image/png" in page.read_text()
    note(f"reports/{page.name}: {page.stat().st_size // 1024} kB, with its pictures")


def test_the_journal_has_json_with_priorities(machine):
    lines = [line for line in machine.journal() if line.get("_SYSTEMD_UNIT") == "sereno.service"]
    said = [json.loads(line["MESSAGE"]) for line in lines]
    assert {"service.started", "run.finished"} <= {one["event"] for one in said}
    assert {line["PRIORITY"] for line in lines} <= {"6", "4"}
    note(lines[0]["MESSAGE"])


def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(machine):
    path = machine.root / "etc/sereno/config.toml"
    path.write_text(CONFIG + '[schedules.weekly]\ncron = "0 3 * * sun"\njobs = ["health_report"]\n')
    machine.run("systemctl reload sereno")
    until(lambda: "service.reloaded" in machine.journal()[-1]["MESSAGE"] or any("service.reloaded" in line["MESSAGE"] for line in machine.journal()), 10, "the reload")  # fmt: skip
    pid = machine.show("MainPID")
    path.write_text(CONFIG.replace("* * * * *", "* * * *"))
    machine.run("systemctl reload sereno")
    refused = until(
        lambda: [line for line in machine.journal() if "reload.refused" in line["MESSAGE"]],
        10,
        "the refusal",
    )
    assert refused[0]["PRIORITY"] == "3"
    assert (machine.show("ActiveState"), machine.show("MainPID")) == ("active", pid)
    note(json.loads(refused[0]["MESSAGE"])["error"])
    path.write_text(CONFIG)
    machine.run("systemctl reload sereno")


def test_a_stop_in_the_middle_of_a_vacuum_is_clean_and_the_cluster_beside_lives(machine):
    machine.sql(
        "ALTER DATABASE coop SET vacuum_cost_delay = 10; ALTER DATABASE coop SET vacuum_cost_limit = 1"
    )
    machine.sql("CREATE ROLE shop; CREATE TABLE public.big (a int) WITH (autovacuum_enabled = off); ALTER TABLE public.big OWNER TO shop; GRANT shop TO sereno_maintain")  # fmt: skip
    machine.sql("INSERT INTO public.big SELECT generate_series(1, 400000)")
    machine.sql("DELETE FROM public.big WHERE a % 2 = 0")
    vacuuming = "SELECT count(*) FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'sereno/vacuum'"
    until(lambda: machine.sql(vacuuming) == "1", 90, "a VACUUM")
    status = until(
        lambda: "vacuum main" in machine.show("StatusText") and machine.show("StatusText"),
        15,
        "the status",
    )
    note(f"StatusText={status}")
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
    assert machine.sql("SELECT 'the cluster beside lives'") == "the cluster beside lives"
    assert machine.show("ActiveState", "postgresql@15-main") == "active"
    note(
        f"systemctl stop during VACUUM: {seconds:.1f} s, Result=success, no backend left; the cluster takes new connections"
    )
    machine.sql("ALTER DATABASE coop RESET ALL")
    machine.run("systemctl start sereno")


def test_killed_it_comes_back_and_says_what_was_interrupted(machine):
    pid = machine.show("MainPID")
    machine.run(f"kill -9 {pid}")
    until(
        lambda: (
            machine.show("MainPID") not in {pid, "0"} and machine.show("ActiveState") == "active"
        ),
        30,
        "the restart",
    )
    assert machine.show("NRestarts") == "1"
    note("kill -9: NRestarts=1, active again")


def test_stopped_by_sigstop_the_watchdog_starts_it_anew(machine):
    pid = machine.show("MainPID")
    began = time.monotonic()
    machine.run(f"kill -STOP {pid}")
    until(
        lambda: (
            machine.show("MainPID") not in {pid, "0"} and machine.show("ActiveState") == "active"
        ),
        60,
        "the watchdog",
    )
    said = machine.run("journalctl -u sereno --no-pager -o cat").stdout
    assert "Watchdog timeout" in said
    note(
        f"kill -STOP: watchdog timeout (6 s here), active again after {time.monotonic() - began:.0f} s"
    )


def test_what_cannot_be_mended_by_a_start_is_not_started_and_told_without_it(machine):
    tickets = machine.root / "root/tickets"
    tickets.unlink(missing_ok=True)
    (machine.root / "etc/sereno/config.toml").write_text(CONFIG + "[daemno]\n")
    machine.run("systemctl restart sereno", check=False)
    until(lambda: machine.show("ActiveState") == "failed", 20, "its failure")
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("78", "0")
    until(lambda: tickets.exists() and b"service_failed" in tickets.read_bytes(), 40, "the ticket")
    data = [
        json.loads(line)["data"]
        for line in tickets.read_text().splitlines()
        if "service_failed" in line
    ]
    note(
        f"exit 78, not restarted; the ticket, by the last good configuration: {data[0]['message']}"
    )
    (machine.root / "etc/sereno/config.toml").write_text(CONFIG)
    machine.run("systemctl reset-failed sereno; systemctl start sereno")
    until(lambda: b'"resolved"' in tickets.read_bytes(), 30, "the resolve")
