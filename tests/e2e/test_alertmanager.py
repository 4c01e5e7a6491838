"""Prometheus' own Alertmanager: our alert fires there, stays as long as it is said again, and is resolved."""

import json
import shutil
import subprocess
import threading
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
from store.store import open_store

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
HOSTILE = 'public."<!channel> & <b>x</b> =cmd()"'
CONFIG = """
route: { receiver: hook, group_wait: 0s, group_interval: 1s }
receivers: [ { name: hook, webhook_configs: [ { url: "%s", send_resolved: true } ] } ]
"""


def told(message):
    return Finding(
        Identity("orphans", "coop", database="main", object=HOSTILE), Severity.HIGH, message
    )


@pytest.fixture
def sending(tmp_path):
    """A courier whose only channel is an Alertmanager at a URL."""

    def make(url):
        options = alertmanager.Options(type="alertmanager", url=url)
        channels = {"am": alertmanager.Alertmanager(options, Sender("coop"))}
        policy = Policy({Severity.HIGH: ("am",)}, instance="coop")
        return Courier(open_store(tmp_path / "state.db"), channels, policy)

    return make


def look(courier, *findings):
    with courier.store.transaction() as transaction:
        AlertProcessor(transaction, courier.policy, datetime.now(UTC)).process(
            findings, [Coverage("orphans")]
        )


@pytest.mark.skipif(
    PROGRAM is None, reason="no Alertmanager on this machine (prometheus-alertmanager)"
)
def test_the_real_one_shows_it_firing_and_then_resolved(tmp_path, endpoint, sending, wait):
    heard = endpoint((200, {}, b""))
    (tmp_path / "am.yml").write_text(CONFIG % heard.url)
    port = free_port()
    process = subprocess.Popen(
        [PROGRAM, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        courier = sending(f"http://127.0.0.1:{port}")

        def shown():
            with urlopen(f"http://127.0.0.1:{port}/api/v2/alerts") as answer:
                return json.load(answer)

        look(courier, told("7 rows"))
        wait(lambda: _up(port), 20, "Alertmanager")
        assert courier.deliver_one("am")
        (one,) = wait(shown)
        assert one["labels"] == {"alertname": "orphans", "severity": "high", "sereno": "coop", "database": "main", "object": HOSTILE}  # fmt: skip
        wait(lambda: heard.requests, what="the firing notification")
        look(courier)
        assert courier.deliver_one("am")
        wait(lambda: shown() == [], what="its end")
        wait(lambda: len(heard.requests) > 1, what="the resolved notification")
        said = [json.loads(request["body"])["status"] for request in heard.requests]
        assert (said[0], said[-1]) == ("firing", "resolved")
    finally:
        process.kill()
        process.wait()


def _up(port):
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready") as answer:
            return answer.status == 200
    except OSError:
        return False


def test_what_is_open_is_said_again_and_again(endpoint, sending, wait, monkeypatch):
    monkeypatch.setattr(
        alertmanager.Alertmanager, "traits", alertmanager.Traits(refresh_seconds=0.2)
    )
    place = endpoint((200, {}, b""))
    courier = sending(place.url)
    stop = threading.Event()
    worker = threading.Thread(target=courier.work, args=("am", stop))
    look(courier, told("7 rows"))
    worker.start()
    try:
        wait(lambda: len(place.requests) > 3)
        look(courier)
        wait(
            lambda: (
                json.loads(place.requests[-1]["body"])[0]["endsAt"] < datetime.now(UTC).isoformat()
            )
        )
    finally:
        stop.set()
        courier.store.bell.ring()
        worker.join()
    bodies = [json.loads(request["body"]) for request in place.requests]
    assert len({body[0]["startsAt"] for body in bodies}) == 1
    assert all(request["path"] == "/api/v2/alerts" for request in place.requests)
