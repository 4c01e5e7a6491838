"""Prometheus metrics: values are read from the store at each scrape, planned tasks included."""

import contextlib
import json
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.demo.cluster import free_port
from daemon.monitoring.metrics import MISSES
from domain.calendar import longest_gap, parse_cron
from store.state_check import checked_at

WEEKLY = """
[schedules.weekly]
cron = "0 3 * * sun"
jobs = ["vacuum", "health_report"]
"""


def get(listen, path):
    try:
        with urllib.request.urlopen(f"http://{listen}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(listen):
    status, text = get(listen, "/metrics")
    assert status == 200, text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert "job" not in sample.labels, "Prometheus sets that label itself"
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = (
                sample.value
            )
    return found


@contextmanager
def service(house, wait, *, answers=True):
    house.context()
    process = house.start("run")
    try:
        if answers:
            wait(lambda: is_listening(house.listen), what="the port")
        else:
            wait(
                lambda: json.loads(house.sereno("status", "--json").stdout)["service"],
                what="the service",
            )
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        process.output = process.stdout.read()
        process.stdout.close()


def is_listening(listen):
    host, _, port = listen.rpartition(":")
    with socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host.strip("[]"), int(port))) == 0


def check_metrics_before_the_first_run(metrics):
    assert metrics["sereno_task_last_success_timestamp_seconds", "main", "vacuum"] == 0
    assert metrics["sereno_task_last_success_timestamp_seconds", "", "health_report"] == 0
    late = "sereno_task_late_timestamp_seconds"
    for place, days in ((("main", "analyze"), 2), (("", "health_report"), 14)):
        since = metrics[late, *place] - days * 86400
        assert time.time() - 60 < since <= time.time()
    assert ("sereno_task_running", "main", "analyze") not in metrics
    assert metrics["sereno_notifications_total", "ticket", "sent"] == 0
    assert metrics["sereno_alerts_open", "high"] == 0
    assert 0 < metrics["sereno_schedule_next_timestamp_seconds", "daily"] - time.time() <= 86400


def check_metrics_after_a_run(metrics, started):
    assert metrics["sereno_task_last_success_timestamp_seconds", "main", "analyze"] >= started - 1
    late = metrics["sereno_task_late_timestamp_seconds", "main", "analyze"] - 2 * 86400
    assert late == pytest.approx(
        metrics["sereno_task_last_success_timestamp_seconds", "main", "analyze"]
    )
    assert metrics["sereno_task_runs_total", "finished", "analyze"] == 1
    assert metrics["sereno_task_duration_seconds_bucket", "60.0", "analyze"] == 1
    assert metrics["sereno_task_duration_seconds_count", "analyze"] == 1
    assert metrics["sereno_findings", "high"] == metrics["sereno_alerts_open", "high"] == 1
    assert metrics["sereno_notifications_total", "ticket", "sent"] == 1
    assert ("sereno_outbox_oldest_timestamp_seconds", "ticket") not in metrics
    assert metrics[("process_resident_memory_bytes",)] > 2**20


def test_metrics_report_tasks_alerts_and_notifications(house, wait, endpoint):
    ticket = endpoint()
    house.with_logins = False
    house.listen = f"127.0.0.1:{free_port()}"
    house.extra = WEEKLY + f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
    house.extra += '[routes]\nwarning = ["ticket"]\nhigh = ["ticket"]\n'
    house.database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 5)"
    )
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 95)")
    with service(house, wait):
        assert get(house.listen, "/healthz") == (200, "well\n")
        assert get(house.listen, "/etc/passwd")[0] == 404
        check_metrics_before_the_first_run(scrape(house.listen))
        started = time.time()
        house.sereno("now", "analyze", "integrity_check", "--json")
        wait(lambda: ticket.requests, what="the ticket")
        wait(
            lambda: scrape(house.listen)["sereno_outbox_pending", "ticket"] == 0,
            what="the delivery",
        )
        check_metrics_after_a_run(scrape(house.listen), started)


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [
        ("*/15 1-4 * * *", 2 * 20.25 * 3600),
        ("0 2 * * *", 2 * 86400),
        ("0 3 * * sun", 14 * 86400),
        ("0 0 1 * *", 62 * 86400),
    ],
)
def test_maximum_age_is_twice_the_longest_gap(cron, seconds):
    gap = longest_gap(parse_cron(cron), ZoneInfo("UTC"), datetime(2026, 3, 4, 3, tzinfo=UTC))
    assert MISSES * gap.total_seconds() == seconds


def test_metrics_survive_a_restart(house, wait):
    house.with_logins = False
    house.listen = f"[::1]:{free_port()}"
    with service(house, wait):
        house.sereno("now", "analyze", "--json")
        before = scrape(house.listen)
    with service(house, wait):
        after = scrape(house.listen)
    metric = ("sereno_task_last_success_timestamp_seconds", "main", "analyze")
    assert before[metric] == after[metric] > 0


def test_metrics_address_in_use_raises_an_alert_and_jobs_still_run(house, wait, endpoint):
    ticket = endpoint()
    house.with_logins = False
    house.listen = f"127.0.0.1:{ticket.port}"
    house.extra = (
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
        '[routes]\nwarning = ["ticket"]\n'
    )
    with service(house, wait, answers=False):
        (request,) = wait(lambda: ticket.requests, what="the alert")
        assert house.sereno("now", "analyze").returncode == 0
    data = json.loads(request["body"])["data"]
    assert (data["kind"], data["object"]) == ("metrics_unreachable", house.listen)
    house.listen = f"127.0.0.1:{free_port()}"
    with service(house, wait):
        wait(lambda: len(ticket.requests) == 2, what="the resolved notification")
    assert json.loads(ticket.requests[1]["body"])["data"]["state"] == "resolved"


def test_metrics_return_503_when_the_state_file_is_unreadable(house, wait):
    house.with_logins = False
    house.listen = f"127.0.0.1:{free_port()}"
    store = house.context().store
    with service(house, wait) as process:
        wait(lambda: first_check(store), what="the end of the start")
        state = house.folder / "state.db"
        house.states.take_away(state)
        status, text = get(house.listen, "/metrics")
        house.states.give_back(state)
        assert (status, store.name in text) == (503, True)
        assert get(house.listen, "/metrics")[0] == 200
    assert "Traceback" not in process.output


def first_check(store):
    with store.reading() as transaction:
        return checked_at(transaction)


def test_idle_connections_are_limited_in_number_and_in_total_time(house, wait, monkeypatch):
    from daemon.monitoring import server as module

    monkeypatch.setattr(module, "TOTAL_SECONDS", 1.0)
    listen = f"127.0.0.1:{free_port()}"
    host, _, port = listen.partition(":")
    threads = threading.active_count()
    with module.serve_metrics(listen, house.context, lambda: ""), contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(200)
        ]
        wait(lambda: threading.active_count() > threads + 1, what="a request thread")
        assert threading.active_count() <= threads + 2 + 2 * module.MOST_CONNECTIONS
        refused = [one for one in idle if select.select([one], [], [], 0)[0]]
        assert len(refused) >= 200 - 2 * module.MOST_CONNECTIONS

        def answers():
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://{listen}/healthz", timeout=2).read()
            return b""

        wait(lambda: answers() == b"well\n", what="an answer after the total time")


def test_slow_request_logs_no_traceback(house, wait, monkeypatch, capfd):
    from daemon.monitoring import server as module

    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.3)
    listen = f"127.0.0.1:{free_port()}"
    host, _, port = listen.partition(":")
    context = house.context()
    threads = threading.active_count()
    with module.serve_metrics(listen, lambda: context, lambda: ""):
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
            wait(lambda: select.select([slow], [], [], 0)[0], what="the end of the connection")
        wait(lambda: threading.active_count() <= threads + 1, what="the end of the thread")
    assert "Traceback" not in "".join(capfd.readouterr())
