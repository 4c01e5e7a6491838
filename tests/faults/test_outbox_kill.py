"""SIGKILL between the commit of an alert and its POST, and between the POST and its mark: nothing is lost.

Every copy carries the id that was committed; there are no more copies than kills.
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
from store.store import open_store

ROOT = Path(__file__).parents[2]
KILLS = 20

PROGRAM = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from alerts.channels.channel import Sender
from alerts.channels.webhook import Options, Webhook
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from domain.finding import Finding, Identity, Severity
from daemon.monitoring.log import set_up
from store.store import open_store

set_up(quiet=True)
store = open_store(Path(sys.argv[1]))
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
        owed = AlertProcessor(transaction, policy, now).process([finding])
    print(*owed, flush=True)
"""


def test_nothing_is_lost_and_every_copy_has_the_same_id(tmp_path, endpoint):
    got, lock, kill = Counter(), threading.Lock(), threading.Event()
    victim = []
    draw = random.Random(7)

    def answer(_number, request):
        """Half of the kills strike here: the request has come, its answer never goes."""
        with lock:
            got[request["headers"]["webhook-id"]] += 1
            if victim and kill.is_set() and draw.random() < 0.5:
                kill.clear()
                os.kill(victim.pop().pid, signal.SIGKILL)
                return None
        return 200, {}, b"{}"

    place = endpoint(answer)
    state = tmp_path / "state.db"
    acknowledged = set()
    for round_ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(state), place.url, str(round_)], stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
        victim[:] = [process]
        for count, line in enumerate(process.stdout, 1):
            acknowledged.add(line.strip())
            if count == 4:
                kill.set()
            if count > 4 + draw.randint(0, 12):
                process.kill()
                break
        acknowledged.update(line.strip() for line in process.stdout)
        process.wait()
        process.stdout.close()
        victim.clear()
        kill.clear()
    store = open_store(state)
    channels = {"ticket": Webhook(Options(type="webhook", url=place.url), Sender("coop"))}
    courier = Courier(store, channels, Policy({}, instance="coop"))
    while courier.drain(20):
        pass
    with store.transaction() as transaction:  # what was left in back-off by a dropped answer
        transaction.execute(
            "UPDATE notification SET not_before = created_at WHERE state = 'pending'"
        )
    assert courier.drain(20) == 0
    with store.reading() as transaction:
        committed = {row["id"] for row in transaction.rows("SELECT id FROM notification")}
    assert acknowledged <= committed
    assert set(got) == committed
    assert sum(got.values()) - len(got) <= KILLS
    assert len(committed) >= 4 * KILLS
