"""The Alertmanager channel: firing, refresh, resolved; against Alertmanager where installed."""

import json
import shutil
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest

from alerts.channels import alertmanager
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from daemon.demo.cluster import free_port
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from store.opening import open_store

pytestmark = pytest.mark.usefixtures("any_state")

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
HOSTILE = 'public."<!channel> & <b>x</b> =cmd()"'
LABELS = {
    "alertname": "orphans",
    "severity": "high",
    "sereno": "coop",
    "database": "main",
    "object": HOSTILE,
}
CONFIG = """
route: { receiver: hook, group_wait: 0s, group_interval: 1s }
receivers: [ { name: hook, webhook_configs: [ { url: "%s", send_resolved: true } ] } ]
"""


def finding(message):
    return Finding(
        Identity("orphans", "coop", database="main", object=HOSTILE), Severity.HIGH, message
    )


@pytest.fixture
def make_courier(tmp_path):
    """Make a courier whose only channel is an Alertmanager at a URL."""

    def make(url):
        options = alertmanager.Options(type="alertmanager", url=url)
        channels = {"am": alertmanager.Alertmanager(options, Sender("coop"))}
        policy = Policy({Severity.HIGH: ("am",)}, instance="coop")
        return Courier(open_store(tmp_path / "state.db"), channels, policy)

    return make


def record(courier, *findings):
    with courier.store.transaction() as transaction:
        AlertProcessor(transaction, courier.policy, datetime.now(UTC)).process(
            findings, [Coverage("orphans")]
        )


@pytest.mark.skipif(
    PROGRAM is None, reason="no Alertmanager on this machine (prometheus-alertmanager)"
)
def test_alertmanager_shows_the_alert_firing_then_resolved(tmp_path, endpoint, make_courier, wait):
    receiver = endpoint((200, {}, b""))
    (tmp_path / "am.yml").write_text(CONFIG % receiver.url)
    port = free_port()
    arguments = (
        f"--config.file={tmp_path}/am.yml",
        f"--storage.path={tmp_path}/am",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    process = subprocess.Popen(
        [PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        courier = make_courier(f"http://127.0.0.1:{port}")

        def active_alerts():
            with urlopen(f"http://127.0.0.1:{port}/api/v2/alerts") as answer:
                return json.load(answer)

        record(courier, finding("7 rows"))
        wait(lambda: _is_ready(port), 20, "Alertmanager")
        assert courier.deliver_one("am")
        (one,) = wait(active_alerts)
        assert one["labels"] == LABELS
        wait(lambda: receiver.requests, what="the firing notification")
        record(courier)
        assert courier.deliver_one("am")
        wait(lambda: active_alerts() == [], what="the resolved alert")
        wait(lambda: len(receiver.requests) > 1, what="the resolved notification")
        statuses = [json.loads(request["body"])["status"] for request in receiver.requests]
        assert (statuses[0], statuses[-1]) == ("firing", "resolved")
    finally:
        process.kill()
        process.wait()


def _is_ready(port):
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready") as answer:
            return answer.status == 200
    except OSError:
        return False


def test_alertmanager_receives_open_alerts_periodically(endpoint, make_courier, wait, monkeypatch):
    monkeypatch.setattr(alertmanager.Options, "traits", alertmanager.Traits(refresh_seconds=0.2))
    server = endpoint((200, {}, b""))
    courier = make_courier(server.url)
    stop = threading.Event()
    worker = threading.Thread(target=courier.work, args=("am", stop))
    record(courier, finding("7 rows"))
    worker.start()
    try:
        wait(lambda: len(server.requests) > 3)
        record(courier)
        wait(
            lambda: (
                json.loads(server.requests[-1]["body"])[0]["endsAt"] < datetime.now(UTC).isoformat()
            )
        )
    finally:
        stop.set()
        courier.store.wakeup.ring()
        worker.join()
    bodies = [json.loads(request["body"]) for request in server.requests]
    assert len({body[0]["startsAt"] for body in bodies}) == 1
    assert all(request["path"] == "/api/v2/alerts" for request in server.requests)


def test_alerts_are_refreshed_while_nothing_new_may_be_delivered(
    endpoint, make_courier, wait, monkeypatch
):
    """Alertmanager ends an alert that is not sent again."""
    monkeypatch.setattr(alertmanager.Options, "traits", alertmanager.Traits(refresh_seconds=0.2))
    server = endpoint((200, {}, b""))
    courier = make_courier(server.url)
    record(courier, finding("7 rows"))
    assert courier.deliver_one("am")
    stop = threading.Event()
    waiting = replace(courier, must_wait=lambda: True)
    worker = threading.Thread(target=waiting.work, args=("am", stop))
    worker.start()
    try:
        wait(lambda: len(server.requests) > 1, what="a refresh")
    finally:
        stop.set()
        worker.join()
