"""The status page under load: beside a night, idle, with half-open connections, and at the end.

The night is a run of each job, asked for through the interface, so that it runs in the process that
serves the pages; it runs alone and beside the load in turns. Checks in turns are the worst case:
most of their work is that of this process.
"""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.idle import cpu_seconds, resident_megabytes
from benchmarks.server import COMPILED, BenchmarkDatabase, options, ratio_columns, servers
from daemon.demo.cluster import Cluster, free_port
from daemon.principals import make_token

CLIENTS, LOAD_SECONDS = 50, 30
TABLES, ROWS = 40, 120_000
HALF_OPEN, KEPT_AT_THE_END = 200, 50
IDLE_SECONDS = 300
NIGHTS = {
    "a night": ("vacuum", "analyze", "corruption_check", "disk_check", "integrity_check"),
    "checks in turns": ("integrity_check",) * 15,
}
EXTRA = """
[web]
listen = "127.0.0.1:{port}"
[web.principals.bench]
token_sha256 = "{digest}"
may = ["read", "operate"]
"""


class Service:
    """A service that has begun, and its status page."""

    def __init__(self, database: BenchmarkDatabase, port: int, token: str) -> None:
        self.database, self.port, self.token = database, port, token
        command = [sys.executable, "-m", "daemon", "run", "--config", str(database.config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=COMPILED)
        deadline = time.monotonic() + 30
        while not self.answers():
            if time.monotonic() > deadline:
                sys.exit("the service does not answer")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Return whether the overview answers."""
        with suppress(OSError):
            return self.ask("GET", "/")[0] == 200  # noqa: PLR2004 - OK
        return False

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        }
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if path.startswith("/api") else text

    def night(self, jobs: Sequence[str]) -> float:
        """Run jobs one after the other; return the seconds of their runs."""
        seconds = 0.0
        for job in jobs:
            last = self._newest(job)
            self.ask("POST", "/api/v1/runs", {"job": job})
            while (found := self._newest(job)) == last or not found["finished_at"]:
                time.sleep(0.05)
            began, ended = (
                datetime.fromisoformat(found[name]) for name in ("started_at", "finished_at")
            )
            seconds += (ended - began).total_seconds()
        return seconds

    def _newest(self, job: str) -> Any:  # noqa: ANN401 - JSON
        runs = self.ask("GET", f"/api/v1/runs?job={job}")[1]
        return runs[0] if runs else None

    def stop(self) -> float:
        """End the service; return the seconds from the signal to its end."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(60)
        return time.monotonic() - began


def make_dirty(database: BenchmarkDatabase) -> None:
    """Make or update the tables, so that each night has the same work."""
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        for number in range(TABLES):
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS public.t{number} (id int PRIMARY KEY, a text)"
            )
            connection.execute(
                f"INSERT INTO public.t{number} SELECT n, repeat('x', 100)"  # noqa: S608 - a number
                " FROM generate_series(1, %s) n ON CONFLICT (id) DO UPDATE SET a = excluded.a",
                (ROWS,),
            )
    database.flush()


@contextmanager
def loaded(port: int) -> Iterator[tuple[list[float], "Counter[int]"]]:
    """Load the overview with one request a second of each client; yield seconds and statuses."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def visit(number: int) -> None:
        ended.wait(number / CLIENTS)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not ended.is_set():
            began = time.monotonic()
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.monotonic() - began)
            statuses[answer.status] += 1
            ended.wait(1)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(CLIENTS)]
    for one in threads:
        one.start()
    try:
        yield seconds, statuses
    finally:
        ended.set()
        for one in threads:
            one.join()


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return 1000 * sorted(values)[int(len(values) * share)]


def beside_a_night(database: BenchmarkDatabase, service: Service, name: str, pairs: int) -> None:
    """Compare nights alone and beside the load."""
    nights: list[tuple[float, float]] = []
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    for number in range(pairs):
        pair = [0.0, 0.0]
        for side in (0, 1) if number % 2 else (1, 0):
            make_dirty(database)
            if side == 0:
                pair[0] = service.night(NIGHTS[name])
                continue
            began = time.monotonic()
            with loaded(service.port) as (found, codes):
                pair[1] = service.night(NIGHTS[name])
                time.sleep(max(0.0, LOAD_SECONDS - (time.monotonic() - began)))
            seconds += found
            statuses += codes
        nights.append((pair[1], pair[0]))
    print(f"{name}, {CLIENTS} clients, {LOAD_SECONDS} s: answers {dict(statuses)}, "
          f"p50 {percentile(seconds, 0.5):.0f} ms, p99 {percentile(seconds, 0.99):.0f} ms, "
          f"resident {resident_megabytes(service.process):.0f} MB")  # fmt: skip
    print(f"night beside the load and alone, s | ratio: {ratio_columns(nights)}", flush=True)


def idle_with_page_open(service: Service) -> None:
    """Measure the service while one connection of a browser is open."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", "/")
    connection.getresponse().read()
    time.sleep(10)
    before = cpu_seconds(service.process)
    time.sleep(IDLE_SECONDS)
    used = 100 * (cpu_seconds(service.process) - before) / IDLE_SECONDS
    print(f"idle, page open, {IDLE_SECONDS} s: {used:.3f} % CPU, "
          f"{resident_megabytes(service.process):.0f} MB")  # fmt: skip
    connection.close()


def half_open(port: int, number: int) -> list[socket.socket]:
    """Open connections that send half a request and then nothing."""
    opened = []
    for _ in range(number):
        one = socket.create_connection(("127.0.0.1", port), 10)
        one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        opened.append(one)
    return opened


def with_half_open_connections(service: Service) -> None:
    """Ask for the page while other connections hang, and end the service with some of them."""
    kept, seconds, statuses = half_open(service.port, HALF_OPEN), [], Counter[int]()
    ended = time.monotonic() + 60
    while time.monotonic() < ended:
        began = time.monotonic()
        try:
            statuses[service.ask("GET", "/")[0]] += 1
        except OSError as error:
            statuses[-1] += 1
            print(f"no answer: {error}")
        seconds.append(time.monotonic() - began)
        time.sleep(0.5)
    print(f"{HALF_OPEN} half-open connections, 60 s: answers {dict(statuses)}, "
          f"slowest {1000 * max(seconds):.0f} ms")  # fmt: skip
    for one in kept:
        one.close()
    kept = half_open(service.port, KEPT_AT_THE_END)
    print(f"SIGTERM with {KEPT_AT_THE_END} of them: ended after {service.stop():.2f} s")
    for one in kept:
        one.close()


def main() -> None:
    """Measure on the embedded server."""
    arguments = options(__doc__)
    arguments.binaries = []
    for _version, cluster, folder in servers(arguments):
        measure(cluster, folder, arguments.pairs)


def measure(cluster: Cluster, folder: Path, pairs: int) -> None:
    """Print every figure of one service."""
    (token, digest), port = make_token(), free_port()
    database = BenchmarkDatabase(cluster, folder, "pages", EXTRA.format(port=port, digest=digest))
    database.config.write_text(database.config.read_text().replace('listen = ""\n', "", 1))
    make_dirty(database)
    service = Service(database, port, token)
    try:
        for name in NIGHTS:
            beside_a_night(database, service, name, pairs)
        idle_with_page_open(service)
        with_half_open_connections(service)
    finally:
        service.process.kill()


if __name__ == "__main__":
    main()
