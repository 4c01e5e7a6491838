"""CPU and memory of the idle service, beside a process that only imports its modules."""

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
listen = "127.0.0.1:19188"
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
PLAIN = "import apscheduler, psycopg, time; print('ready', flush=True); time.sleep(1000)"


def spent(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: "subprocess.Popen[bytes]") -> float:
    """Return its resident memory in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Measure both in the same minute."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(CONFIG.format(folder=folder))
        commands = {
            "sereno run": [sys.executable, "-m", "daemon", "run", "--config", str(config)],
            "python, imports only": [sys.executable, "-c", PLAIN],
        }
        processes = {
            name: subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
            for name, words in commands.items()
        }
        time.sleep(SETTLE_SECONDS)
        before = {name: spent(process) for name, process in processes.items()}
        time.sleep(SECONDS)
        print(f"idle, over {SECONDS} s, three channels, /metrics open")
        print("| process | CPU % | resident MB |\n|---|---|---|")
        for name, process in processes.items():
            used = 100 * (spent(process) - before[name]) / SECONDS
            print(f"| `{name}` | {used:.3f} | {resident(process):.0f} |")
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
