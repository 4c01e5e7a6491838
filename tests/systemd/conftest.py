"""A booted Debian root with sereno's wheels, for the tests of `make systemd-test`."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.systemd.machine import ROOT, Machine, run

PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,postgresql"
MISSING = [
    tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None
]

MARKS = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"needs {', '.join(MISSING)}: apt install debootstrap systemd-container",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file system is created and booted"),
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


def build_wheels(folder, python=""):
    """Build the wheel of sereno and download its dependencies of the lock file.

    `python` is the version that installs them, like 3.13; by default that of this process.
    """
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
    run(uv, "tool", "run", "--python", sys.executable, "pip", "download", "--quiet", "--only-binary=:all:", *(["--python-version", python] if python else []), "--dest", folder, "-r", needed)  # fmt: skip


def readme_commands():
    """Return the installation commands of systemd/README.md."""
    text = (ROOT / "systemd" / "README.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert len(commands) <= 6
    return commands


@pytest.fixture(scope="session")
def machine():
    folder = Path(tempfile.mkdtemp(prefix="sereno-boot-", dir="/var/tmp"))
    root = folder / "root"
    cached_root = os.environ.get("SERENO_TEST_ROOT")
    if cached_root and Path(cached_root).exists():
        run("cp", "-a", cached_root, root)
    else:
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root, *filter(None, [os.environ.get("SERENO_TEST_MIRROR")]))  # fmt: skip
        if cached_root:
            run("cp", "-a", root, cached_root)
    build_wheels(root / "root")
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


def install(machine):
    """Install and start the service as the README says; return its commands."""
    commands = readme_commands()
    machine.sql("CREATE DATABASE coop", "postgres")
    for command in commands:
        if "systemctl" in command:  # the last command: configure the service before it
            (machine.root / "etc/sereno/config.toml").write_text(CONFIG)
            for name in ("maintain", "data"):
                (machine.root / f"etc/sereno/credentials/{name}").write_text(f"secret-{name}\n")
            for unit in ("sereno.service.d", "sereno-failed@.service.d"):
                (machine.root / "etc/systemd/system" / unit).mkdir()
                (machine.root / "etc/systemd/system" / unit / "site.conf").write_text(DROP_IN)
            machine.sql("ALTER USER postgres PASSWORD 'admin'", "postgres")
            output = machine.run("CREDENTIALS_DIRECTORY=/etc/sereno/credentials /opt/sereno/bin/sereno install main --admin 'host=127.0.0.1 dbname=coop user=postgres password=admin' && chown --recursive sereno: /var/lib/sereno")  # fmt: skip
            assert "secret" not in output.stdout + output.stderr
        machine.run(command, timeout=300)
    machine.run("systemctl enable --now sereno")
    return commands
