"""Delivery of alerts: latency, a rate-limited receiver, a burst of alerts, an unavailable channel.

Alertmanager of Prometheus is measured in the same run if it is installed. Receivers are separate
processes; all use the same monotonic clock.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from alerts.channels import slack, webhook
from alerts.channels.channel import Channel, Sender
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from daemon.demo.cluster import free_port
from daemon.monitoring.log import set_up
from domain.finding import Finding, Identity, Severity
from domain.secret import Secret
from store.opening import open_store

COUNT, RATE_LIMITED, BURST, ALERTMANAGER_SECONDS = 300, 30, 100, 45
RECEIVER = """
import json, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

interval, hangs = float(sys.argv[1]), sys.argv[2] == "hangs"
received, refused, free, lock = [], [0], [0.0], threading.Lock()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        at = time.monotonic()
        if hangs:
            time.sleep(3600)
        with lock:
            late = at < free[0]
            free[0] = free[0] if late else at + interval
            refused[0] += late
            None if late else received.append((at, body.decode()))
        self.send_response(429 if late else 200)
        if late:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()
    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.readline()
print(json.dumps([received, refused[0]]), flush=True)
"""
SLACK = """
import json, sys
from tests.faults.slack_stand_in import SlackStandIn

server = SlackStandIn(1.0)
print(server.url, flush=True)
sys.stdin.readline()
print(json.dumps([server.messages, server.broken, server.refused]), flush=True)
"""
ALERTMANAGER_CONFIG = """
route: {{ receiver: hook, group_by: ["..."], group_wait: 0s }}
receivers:
- {{ name: hook, webhook_configs: [ {{ url: "{}", send_resolved: false, max_alerts: 0 }} ] }}
"""


class Receiver:
    """A process that receives messages and reports them when it is stopped."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.first_line = self._process.stdout.readline().strip()

    @property
    def url(self) -> str:
        """The URL of an HTTP receiver."""
        return f"http://127.0.0.1:{self.first_line}"

    def finish(self) -> Any:  # noqa: ANN401 - JSON
        """Stop the process; return its report."""
        return json.loads(self._process.communicate("done\n")[0])


def start_receiver(interval: float = 0.0, mode: str = "answers") -> Receiver:
    """Start an HTTP receiver of webhooks."""
    return Receiver(RECEIVER, str(interval), mode)


@contextmanager
def running_courier(channels: dict[str, Channel], policy: Policy) -> Iterator[Courier]:
    """Run a courier with a new store during the body."""
    with tempfile.TemporaryDirectory() as folder:
        courier = Courier(open_store(Path(folder) / "state.db"), channels, policy)
        stop = threading.Event()
        workers = courier.start(stop)
        try:
            yield courier
        finally:
            stop.set()
            courier.store.wakeup.ring()
            for worker in workers:
                worker.join(5)


def ticket(url: str) -> Channel:
    """Return a webhook channel to a URL."""
    return webhook.Webhook(webhook.Options(type="webhook", url=url), Sender("bench"))


def record_alerts(
    courier: Courier, names: list[str], severity: Severity = Severity.HIGH, run: int | None = None
) -> float:
    """Record alerts; return the time after the commit."""
    findings = [
        Finding(Identity("orphans", "bench", object=name), severity, "7 rows") for name in names
    ]
    with courier.store.transaction() as transaction:
        AlertProcessor(transaction, courier.policy, datetime.now(UTC), run).process(findings)
    return time.monotonic()


def wait_for_all(courier: Courier, seconds: float) -> None:
    """Wait until the outbox is empty."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with courier.store.reading() as transaction:
            if (
                transaction.row("SELECT 1 FROM notification WHERE state IN ('pending', 'leased')")
                is None
            ):
                return
        time.sleep(0.05)


def latencies(other_channels: dict[str, Channel]) -> list[float]:
    """Return the milliseconds from commit to receipt of alerts sent one after the other."""
    endpoint = start_receiver()
    routes = {Severity.HIGH: ("ticket", *other_channels)}
    with running_courier(
        {"ticket": ticket(endpoint.url), **other_channels}, Policy(routes, instance="bench")
    ) as courier:
        committed_at = {}
        for number in range(COUNT):
            committed_at[f"o{number}"] = record_alerts(courier, [f"o{number}"])
            time.sleep(0.02)
        time.sleep(1)
    received, _ = endpoint.finish()
    return [(at - committed_at[json.loads(body)["data"]["object"]]) * 1000 for at, body in received]


def print_latencies(name: str, values: list[float]) -> None:
    """Print median and 99th percentile."""
    ordered = sorted(values)
    p99 = ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"{name}: p50 {statistics.median(ordered):.1f} ms, p99 {p99:.1f} ms, n {len(ordered)}",
        flush=True,
    )


def measure_idle() -> None:
    """Measure the latency from commit to receipt without load."""
    print_latencies("latency, commit to receipt (goal 50 and 500 ms)", latencies({}))


def measure_unavailable_channel() -> None:
    """Measure the latency of a channel while another channel is unavailable."""
    alone = statistics.median(latencies({}))
    hanging = start_receiver(mode="hangs")
    for name, url in (("refuses", f"http://127.0.0.1:{free_port()}"), ("hangs", hanging.url)):
        ratios = sorted(
            statistics.median(latencies({"unavailable": ticket(url)}))
            / statistics.median(latencies({}))
            for _ in range(3)
        )
        median, lowest, highest = ratios[1], ratios[0], ratios[-1]
        spread = f"{median:.2f} ({lowest:.2f} to {highest:.2f})"
        print(
            f"latency with a channel that {name}: p50 ratio {spread}, alone {alone:.1f} ms "
            "(goal 0.9 to 1.1)",
            flush=True,
        )
    hanging.finish()


def measure_rate_limit() -> None:
    """Measure delivery to a receiver that accepts one message per second."""
    endpoint = start_receiver(1.0)
    with running_courier(
        {"ticket": ticket(endpoint.url)}, Policy({Severity.HIGH: ("ticket",)}, instance="bench")
    ) as courier:
        started = record_alerts(courier, [f"o{number}" for number in range(RATE_LIMITED)])
        wait_for_all(courier, 90)
        seconds = time.monotonic() - started
    received, refused = endpoint.finish()
    refused_share = refused / (len(received) + refused)
    print(
        (
            f"rate limit of 1/s, {RATE_LIMITED} messages: delivered {len(received)}, "
            f"refused {refused} ({refused_share:.0%}), {seconds:.0f} s"
        ),
        flush=True,
    )


def measure_burst(folder: Path) -> None:
    """Measure a burst: a hundred alerts of one run within two seconds, ten of them critical."""
    (folder / "token").write_text("xoxb-x")
    (folder / "token").chmod(0o600)
    endpoint = Receiver(SLACK)
    token, url = Secret(file=folder / "token"), endpoint.first_line
    options = slack.Options(type="slack", token=token, channel="C0SERENO", api_url=url)
    channels: dict[str, Channel] = {"slack": slack.Slack(options, Sender("bench"))}
    policy = Policy(
        dict.fromkeys(Severity, ("slack",)),
        instance="bench",
        grouping_channels=frozenset(channels),
        group_wait=timedelta(seconds=15),
        group_interval=timedelta(seconds=20),  # the default of five minutes takes too long
    )
    first = 0.0
    with running_courier(channels, policy) as courier:
        for number in range(BURST):
            critical = number % 10 == 9  # noqa: PLR2004 - every tenth
            at = record_alerts(
                courier, [f"o{number:03}"], Severity.CRITICAL if critical else Severity.HIGH, run=7
            )
            first = first or (at if critical else 0.0)
            time.sleep(0.02)
        wait_for_all(courier, 60)
    messages, broken, refused = endpoint.finish()
    listed = {
        number
        for number in range(BURST)
        if any(f"o{number:03}*" in json.dumps(one["blocks"]) for one in messages)
    }
    first_critical = min(one["at"] for one in messages if "critical" in one["text"]) - first
    print(
        f"burst of {BURST}: listed {len(listed)} in {len(messages)} messages, over a limit "
        f"{len(broken)}, "
        f"refused {refused}, first critical after {first_critical:.2f} s (goals: all, 5, 0, 2 s)",
        flush=True,
    )


def measure_alertmanager(program: str, folder: Path) -> None:
    """Measure Alertmanager: latency from POST to webhook, and the rate-limited receiver."""
    committed_at, received, _ = _run_alertmanager(program, folder, 0.0, (COUNT, 2.0))
    milliseconds = [
        (at - committed_at[json.loads(body)["alerts"][0]["labels"]["alertname"]]) * 1000
        for at, body in received
    ]
    print_latencies("Alertmanager latency, POST to webhook, without persistence", milliseconds)
    _, received, refused = _run_alertmanager(
        program, folder, 1.0, (RATE_LIMITED, ALERTMANAGER_SECONDS)
    )
    print(
        f"Alertmanager, rate limit of 1/s, {RATE_LIMITED} messages: delivered {len(received)}, "
        f"refused {refused}, {ALERTMANAGER_SECONDS} s",
        flush=True,
    )


def _run_alertmanager(
    program: str, folder: Path, interval: float, count_and_seconds: tuple[int, float]
) -> tuple[dict[str, float], list[tuple[float, str]], int]:
    """Post alerts and wait; return the times of posting, the received messages and the refusals."""
    endpoint, port, committed_at = start_receiver(interval), free_port(), {}
    (folder / "am.yml").write_text(ALERTMANAGER_CONFIG.format(endpoint.url))
    options = (
        f"--config.file={folder}/am.yml",
        f"--storage.path={folder}/{port}",
        "--cluster.listen-address=",
    )
    process = subprocess.Popen(
        [program, *options, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(port)
        for number in range(count_and_seconds[0]):
            body = json.dumps([{"labels": {"alertname": f"o{number}"}}]).encode()
            url = f"http://127.0.0.1:{port}/api/v2/alerts"
            urlopen(Request(url, body, {"Content-Type": "application/json"})).close()
            committed_at[f"o{number}"] = time.monotonic()
            time.sleep(0 if interval else 0.02)
        time.sleep(count_and_seconds[1])
    finally:
        process.kill()
        process.wait()
    received, refused = endpoint.finish()
    return committed_at, received, refused


def _wait_until_ready(port: int) -> None:
    for _ in range(200):
        try:
            urlopen(f"http://127.0.0.1:{port}/-/ready").close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Run all measurements."""
    set_up(quiet=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_idle()
        measure_unavailable_channel()
        measure_rate_limit()
        measure_burst(folder)
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if program is None:
            print("Alertmanager: skipped, not installed (Debian: prometheus-alertmanager)")
        else:
            measure_alertmanager(program, folder)


if __name__ == "__main__":
    main()
