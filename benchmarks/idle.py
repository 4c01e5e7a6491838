"""CPU and memory of the idle service, without and with [web], and of its libraries alone."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 60
SETTLE_SECONDS = 10
CONFIG = """
[daemon]
state = "{folder}/state.db"
{listen}
[databases.main]
dsn = "host=/nowhere dbname=coop"
[schedules.daily]
cron = "0 2 * * *"
jobs = ["log_cleanup", "analyze", "disk_check", "integrity_check"]
[schedules.weekly]
cron = "0 3 * * sun"
jobs = ["vacuum", "health_report"]
[channels.ticket]
type = "webhook"
url = "http://127.0.0.1:9/"
[channels.chat]
type = "slack"
url = {{ env = "NOWHERE" }}
[channels.email]
type = "email"
host = "127.0.0.1"
to = ["ops@example.org"]
[routes]
high = ["ticket", "chat", "email"]
"""
SMALL = 'listen = "127.0.0.1:19188"'
WEB = '[web]\nlisten = "127.0.0.1:19189"'
IMPORTS_ONLY = "import apscheduler, psycopg, time; print('ready', flush=True); time.sleep(1000)"


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU seconds used by a process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(process: "subprocess.Popen[bytes]") -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def run_command(folder: Path, listen: str) -> list[str]:
    """Return the command of a service with its own folder and address."""
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder, listen=listen))
    return [sys.executable, "-m", "daemon", "run", "--config", str(config)]


def main() -> None:
    """Measure the processes at the same time."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "sereno run": run_command(Path(folder) / "small", SMALL),
            "sereno run, with [web]": run_command(Path(folder) / "web", WEB),
            "python, imports only": [sys.executable, "-c", IMPORTS_ONLY],
        }
        processes = {
            name: subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
            for name, command in commands.items()
        }
        time.sleep(SETTLE_SECONDS)
        cpu_before = {name: cpu_seconds(process) for name, process in processes.items()}
        time.sleep(SECONDS)
        print(f"idle for {SECONDS} s, three channels, /metrics enabled")
        print("| process | CPU % | resident MB |\n|---|---|---|")
        for name, process in processes.items():
            percent = 100 * (cpu_seconds(process) - cpu_before[name]) / SECONDS
            print(f"| `{name}` | {percent:.3f} | {resident_megabytes(process):.0f} |")
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
