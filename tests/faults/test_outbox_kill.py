"""SIGKILL between commit, POST and outbox update loses no notification.

Every copy has the committed id; there are no more copies than kills.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from alerts.channels.channel import Sender
from alerts.channels.webhook import Options, Webhook
from alerts.courier import Courier
from alerts.policy import Policy
from store.opening import open_store
from tests.fixtures.state import OPEN

ROOT = Path(__file__).parents[2]
KILLS = 20

PROGRAM = """
import threading
from datetime import UTC, datetime
from alerts.channels.channel import Sender
from alerts.channels.webhook import Options, Webhook
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from domain.finding import Finding, Identity, Severity
from daemon.monitoring.log import set_up

set_up(quiet=True)
policy = Policy({Severity.HIGH: ("ticket",)}, instance="coop")
courier = Courier(store, {"ticket": Webhook(Options(type="webhook", url=sys.argv[2]), Sender("coop"))}, policy)
stop = threading.Event()
courier.take_over()
courier.start(stop)
number = 0
while True:
    number += 1
    now = datetime.now(UTC)
    finding = Finding(Identity("orphans", object=f"{sys.argv[3]}-{number}"), Severity.HIGH, "x")
    with store.transaction() as transaction:
        notified = AlertProcessor(transaction, policy, now).process([finding])
    print(*notified, flush=True)
"""


def test_sigkill_loses_no_notification_and_copies_share_id(tmp_path, endpoint, any_state):
    received, lock, kill_requested = Counter(), threading.Lock(), threading.Event()
    running = []
    random_source = random.Random(7)

    def answer(_number, request):
        """Kill the process in half of the rounds after the request and before the response."""
        with lock:
            received[request["headers"]["webhook-id"]] += 1
            if running and kill_requested.is_set() and random_source.random() < 0.5:
                kill_requested.clear()
                os.kill(running.pop().pid, signal.SIGKILL)
                return None
        return 200, {}, b"{}"

    receiver = endpoint(answer)
    state = tmp_path / "state.db"
    acknowledged = set()
    for number in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", OPEN + PROGRAM, any_state.place(state), receiver.url, str(number)], stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
        running[:] = [process]
        for count, line in enumerate(process.stdout, 1):
            acknowledged.add(line.strip())
            if count == 4:
                kill_requested.set()
            if count > 4 + random_source.randint(0, 12):
                process.kill()
                break
        acknowledged.update(line.strip() for line in process.stdout)
        process.wait()
        process.stdout.close()
        running.clear()
        kill_requested.clear()
    store = open_store(state)
    channels = {"ticket": Webhook(Options(type="webhook", url=receiver.url), Sender("coop"))}
    courier = Courier(store, channels, Policy({}, instance="coop"))
    while courier.drain(20):
        pass
    with store.transaction() as transaction:  # end the back-off after dropped responses
        transaction.execute(
            "UPDATE notification SET not_before = created_at WHERE state = 'pending'"
        )
    assert courier.drain(20) == 0
    with store.reading() as transaction:
        committed = {row["id"] for row in transaction.rows("SELECT id FROM notification")}
    assert acknowledged <= committed
    assert set(received) == committed
    assert sum(received.values()) - len(received) <= KILLS
    assert len(committed) >= 4 * KILLS
