"""A Debian root booted by systemd-nspawn."""

import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command, timeout=600, check=True, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    assert not check or done.returncode == 0, (
        f"{' '.join(map(str, command))} → {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return done


class Machine:
    """A booted root; commands run in all its namespaces."""

    def __init__(self, root):
        self.root = root
        self.console = open(root.parent / "console", "wb")  # noqa: PTH123, SIM115
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--private-network", "--register=no", "--keep-unit", "-D", root, "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.leader = None

    def boot(self):
        wait_until(self._find, 30, "the first process")
        wait_until(
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
            ):  # not the helper that executes it
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

    def sereno(self, arguments):
        command = (
            f"CREDENTIALS_DIRECTORY=/etc/sereno/credentials /opt/sereno/bin/sereno {arguments}"
        )
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


def wait_until(condition, seconds=30, what="the condition"):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"timeout after {seconds} s: {what}"
        time.sleep(0.1)
    return value
