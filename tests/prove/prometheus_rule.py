"""A real Prometheus: the rule for missed tasks is inactive, fires, and ends again.

`python -m tests.prove.prometheus_rule` starts the service with a job due each minute, and Prometheus
(Debian's package) with the rules of monitoring/. Then the server is stopped, so that the job misses
its due times, and started again. Every expression of the dashboard is asked for as well. It takes
about six minutes, since a task is late after two missed due times.
"""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from daemon.demo.cluster import free_port
from tests.fixtures.proof import house_and_server

ROOT = Path(__file__).parents[2]
RULE = "SerenoTaskMissed"
CONFIG = """
global: {{ scrape_interval: 2s, evaluation_interval: 2s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: sereno
    static_configs: [{{ targets: ["{target}"] }}]
"""
EVERY_MINUTE = '[schedules.often]\ncron = "* * * * *"\njobs = ["analyze"]\n'


class Prometheus:
    """A Prometheus that scrapes one service."""

    def __init__(self, folder, target):
        self.port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(rules=ROOT / "monitoring/sereno.rules.yml", target=target))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, path, **query):
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def rules(self):
        """Return the state and health of each rule."""
        groups = self.ask("rules")["groups"]
        return {one["name"]: (one["state"], one["health"]) for one in groups[0]["rules"]}

    def wait_for(self, state, seconds):
        """Wait for a state of the rule; return the seconds it took."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            try:
                if self.rules().get(RULE) == (state, "ok"):
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(1)
        sys.exit(f"{RULE} was not {state} within {seconds} s: {self.rules()}")


def check_dashboard(prometheus):
    """Ask for every expression of the dashboard; one that Prometheus refuses is an HTTPError."""
    dashboard = (ROOT / "monitoring/grafana/sereno.json").read_text("utf-8")
    expressions = [json.loads(f'"{one}"') for one in re.findall(r'"expr": "(.*)"', dashboard)]
    series = {one: len(prometheus.ask("query", query=one)["result"]) for one in expressions}
    print(f"dashboard: {len(series)} expressions, {sum(map(bool, series.values()))} have series")
    return series


def main():
    if shutil.which("prometheus") is None:
        print("prometheus_rule: skipped, prometheus is not installed")
        return
    with house_and_server() as (house, cluster):
        house.with_logins = False
        house.listen = f"127.0.0.1:{free_port()}"
        house.extra = EVERY_MINUTE
        service = house.start("run")
        prometheus = Prometheus(house.folder, house.listen)
        try:
            follow(prometheus, cluster)
        finally:
            prometheus.process.kill()
            service.terminate()
            service.wait(30)
            house.close()


def follow(prometheus, cluster):
    prometheus.wait_for("inactive", 60)
    late = 'sereno_task_late_timestamp_seconds{task="analyze"} - time()'
    deadline = time.monotonic() + 100
    while not any(
        float(one["value"][1]) > 0
        for one in prometheus.ask(
            "query", query='sereno_task_last_success_timestamp_seconds{task="analyze"}'
        )["result"]
    ):
        if time.monotonic() > deadline:
            sys.exit("the job did not run within its minute")
        time.sleep(1)
    print("inactive while the job runs each minute;", prometheus.rules())
    check_dashboard(prometheus)
    cluster.stop()
    print(
        f"the server is stopped; late in {prometheus.ask('query', query=late)['result'][0]['value'][1]} s"
    )
    print(f"firing {prometheus.wait_for('firing', 240):.0f} s after the server was stopped")
    cluster.start()
    print(f"inactive {prometheus.wait_for('inactive', 240):.0f} s after the server was started")


if __name__ == "__main__":
    main()
