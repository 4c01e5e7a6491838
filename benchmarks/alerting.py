"""Alerts: latency, a rate limit of thirty, a storm of alerts, and a channel that is down.

In the same run as Prometheus' Alertmanager, where it is installed. Receivers are processes of
their own; all read the same monotonic clock.
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
from store.store import open_store

COUNT, GROUPS, STORM, FIELD_SECONDS = 300, 30, 100, 45
RECEIVER = """
import json, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

interval, hangs = float(sys.argv[1]), sys.argv[2] == "hangs"
seen, refused, free, lock = [], [0], [0.0], threading.Lock()

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
            None if late else seen.append((at, body.decode()))
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
print(json.dumps([seen, refused[0]]), flush=True)
"""
SLACK = """
import json, sys
from tests.faults.slack_stand_in import SlackStandIn

stand_in = SlackStandIn(1.0)
print(stand_in.url, flush=True)
sys.stdin.readline()
print(json.dumps([stand_in.messages, stand_in.broken, stand_in.refused]), flush=True)
"""
FIELD = """
route: {{ receiver: hook, group_by: ["..."], group_wait: 0s }}
receivers:
- {{ name: hook, webhook_configs: [ {{ url: "{}", send_resolved: false, max_alerts: 0 }} ] }}
"""


class Party:
    """The other side of a channel."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.said = self._process.stdout.readline().strip()

    @property
    def url(self) -> str:
        """The address of the receiver."""
        return f"http://127.0.0.1:{self.said}"

    def end(self) -> Any:  # noqa: ANN401 - what it has seen
        """Return what it has seen."""
        return json.loads(self._process.communicate("done\n")[0])


def receiver(interval: float = 0.0, how: str = "answers") -> Party:
    """A ticket system."""
    return Party(RECEIVER, str(interval), how)


@contextmanager
def carried(channels: dict[str, Channel], policy: Policy) -> Iterator[Courier]:
    """A courier at work."""
    with tempfile.TemporaryDirectory() as folder:
        courier = Courier(open_store(Path(folder) / "state.db"), channels, policy)
        stop = threading.Event()
        workers = courier.start(stop)
        try:
            yield courier
        finally:
            stop.set()
            courier.store.bell.ring()
            for worker in workers:
                worker.join(5)


def ticket(url: str) -> Channel:
    """A channel to it."""
    return webhook.Webhook(webhook.Options(type="webhook", url=url), Sender("bench"))


def tell(
    courier: Courier, names: list[str], severity: Severity = Severity.HIGH, run: int | None = None
) -> float:
    """Tell of troubles; return the moment after the commit."""
    found = [
        Finding(Identity("orphans", "bench", object=name), severity, "7 rows") for name in names
    ]
    with courier.store.transaction() as transaction:
        AlertProcessor(transaction, courier.policy, datetime.now(UTC), run).process(found)
    return time.monotonic()


def wait_for_all(courier: Courier, seconds: float) -> None:
    """Wait until nothing is owed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with courier.store.reading() as transaction:
            if (
                transaction.row("SELECT 1 FROM notification WHERE state IN ('pending', 'leased')")
                is None
            ):
                return
        time.sleep(0.05)


def latencies(others: dict[str, Channel]) -> list[float]:
    """Return the delivery times of many alerts in sequence, from commit to receipt."""
    place = receiver()
    routes = {Severity.HIGH: ("ticket", *others)}
    with carried(
        {"ticket": ticket(place.url), **others}, Policy(routes, instance="bench")
    ) as courier:
        told = {}
        for number in range(COUNT):
            told[f"o{number}"] = tell(courier, [f"o{number}"])
            time.sleep(0.02)
        time.sleep(1)
    seen, _ = place.end()
    return [(at - told[json.loads(body)["data"]["object"]]) * 1000 for at, body in seen]


def shown(name: str, values: list[float]) -> None:
    """Print the middle and the tail."""
    ordered = sorted(values)
    tail = ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"{name}: p50 {statistics.median(ordered):.1f} ms, p99 {tail:.1f} ms, n {len(ordered)}",
        flush=True,
    )


def idle() -> None:
    """From commit to accepted."""
    shown("commit to accepted, idle (aim 50 and 500 ms)", latencies({}))


def dead() -> None:
    """Delay of a channel beside others that are down."""
    alone = statistics.median(latencies({}))
    silent = receiver(how="hangs")
    for name, url in (("refuses", f"http://127.0.0.1:{free_port()}"), ("hangs", silent.url)):
        ratios = sorted(
            statistics.median(latencies({"dead": ticket(url)})) / statistics.median(latencies({}))
            for _ in range(3)
        )
        middle, least, most = ratios[1], ratios[0], ratios[-1]
        said = f"p50 {middle:.2f} times as long ({least:.2f} to {most:.2f})"
        print(
            f"beside a channel that {name}: {said}, alone {alone:.1f} ms (aim: 10 % either way)",
            flush=True,
        )
    silent.end()


def limited() -> None:
    """Thirty tickets into one a second."""
    place = receiver(1.0)
    with carried(
        {"ticket": ticket(place.url)}, Policy({Severity.HIGH: ("ticket",)}, instance="bench")
    ) as courier:
        began = tell(courier, [f"o{number}" for number in range(GROUPS)])
        wait_for_all(courier, 90)
        took = time.monotonic() - began
    seen, refused = place.end()
    waste = refused / (len(seen) + refused)
    print(
        (
            f"{GROUPS} into one a second: delivered {len(seen)}, refused {refused} "
            f"({waste:.0%}), {took:.0f} s"
        ),
        flush=True,
    )


def storm(folder: Path) -> None:
    """A hundred troubles of one run within two seconds, ten of them critical."""
    (folder / "token").write_text("xoxb-x")
    place = Party(SLACK)
    options = slack.Options(
        type="slack", token=Secret(file=folder / "token"), channel="C0SERENO", api_url=place.said
    )
    channels: dict[str, Channel] = {"slack": slack.Slack(options, Sender("bench"))}
    policy = Policy(
        dict.fromkeys(Severity, ("slack",)),
        instance="bench",
        grouping_channels=frozenset(channels),
        group_wait=timedelta(seconds=15),
        group_interval=timedelta(seconds=20),  # not five minutes, so that this ends
    )
    first = 0.0
    with carried(channels, policy) as courier:
        for number in range(STORM):
            critical = number % 10 == 9  # noqa: PLR2004 - each tenth
            at = tell(
                courier, [f"o{number:03}"], Severity.CRITICAL if critical else Severity.HIGH, run=7
            )
            first = first or (at if critical else 0.0)
            time.sleep(0.02)
        wait_for_all(courier, 60)
    messages, broken, refused = place.end()
    named = {
        number
        for number in range(STORM)
        if any(f"o{number:03}*" in json.dumps(one["blocks"]) for one in messages)
    }
    soonest = min(one["at"] for one in messages if "critical" in one["text"]) - first
    print(
        f"a storm of {STORM}: named {len(named)} in {len(messages)} messages, over a limit "
        f"{len(broken)}, "
        f"refused {refused}, first critical after {soonest:.2f} s (aims: all, 5, 0, 2 s)",
        flush=True,
    )


def field(program: str, folder: Path) -> None:
    """The same two with Alertmanager: from POST to webhook; thirty groups into one a second."""
    told, seen, _ = _by_alertmanager(program, folder, 0.0, (COUNT, 2.0))
    waits = [
        (at - told[json.loads(body)["alerts"][0]["labels"]["alertname"]]) * 1000
        for at, body in seen
    ]
    shown("Alertmanager, POST to webhook, nothing on disk", waits)
    _, seen, refused = _by_alertmanager(program, folder, 1.0, (GROUPS, FIELD_SECONDS))
    said = f"delivered {len(seen)}, refused {refused}, in {FIELD_SECONDS} s"
    print(f"Alertmanager, {GROUPS} into one a second: {said}", flush=True)


def _by_alertmanager(
    program: str, folder: Path, interval: float, how_many: tuple[int, float]
) -> tuple[dict[str, float], list[tuple[float, str]], int]:
    """Post alerts and wait; return the times of posting, the receipts and the refusals."""
    place, port, told = receiver(interval), free_port(), {}
    (folder / "am.yml").write_text(FIELD.format(place.url))
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
        _ready(port)
        for number in range(how_many[0]):
            body = json.dumps([{"labels": {"alertname": f"o{number}"}}]).encode()
            url = f"http://127.0.0.1:{port}/api/v2/alerts"
            urlopen(Request(url, body, {"Content-Type": "application/json"})).close()
            told[f"o{number}"] = time.monotonic()
            time.sleep(0 if interval else 0.02)
        time.sleep(how_many[1])
    finally:
        process.kill()
        process.wait()
    seen, refused = place.end()
    return told, seen, refused


def _ready(port: int) -> None:
    for _ in range(200):
        try:
            urlopen(f"http://127.0.0.1:{port}/-/ready").close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Run them all."""
    set_up(quiet=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle()
        dead()
        limited()
        storm(folder)
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if program is None:
            print("Alertmanager is not installed (Debian: prometheus-alertmanager): not measured")
        else:
            field(program, folder)


if __name__ == "__main__":
    main()
