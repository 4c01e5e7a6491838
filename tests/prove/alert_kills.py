"""Proof of alert delivery under SIGKILL: at commits, at deliveries and at random.

A forked child records alerts and delivers them: to a webhook, one message per alert, and to Slack,
grouped. It is killed before or after a commit, before or after a delivery, or at a random moment.
The receivers are a separate process. Every message of the outbox arrives with its committed id;
there are no more webhook copies than kills, and no Slack copies, because Slack's history can be
read.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from alerts.channels import slack, webhook
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from daemon.monitoring.log import set_up
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.secret import Secret
from store.opening import open_store
from store.state_file import FileStore
from tests.fixtures.secrets import write_secret

KILLS, ALERTS = int(sys.argv[1]) if sys.argv[1:] else 1_000, 20
POINTS = ("before a commit", "after a commit", "before a delivery", "after a delivery")
RECEIVERS = """
import json, sys
from tests.fixtures.network import Endpoint
from tests.faults.slack_stand_in import SlackStandIn

tickets, slack = Endpoint((200, {}, b"{}")), SlackStandIn(0.0)
print(json.dumps([tickets.url, slack.url]), flush=True)
sys.stdin.readline()
ids = [request["headers"]["webhook-id"] for request in tickets.requests]
posts = [[one["id"], one["ts"]] for one in slack.messages]
print(json.dumps([ids, posts, slack.broken]), flush=True)
"""


class KillableStore(FileStore):
    """A store that kills its process at a commit if the kill point is reached."""

    __slots__ = ("kill_point",)

    @contextmanager
    def transaction(self):
        with super().transaction() as transaction:
            yield transaction
            self.kill_point.reached("before a commit")
        self.kill_point.reached("after a commit")


class KillPoint:
    """Kills the process when a named point is reached for the nth time."""

    def __init__(self, point, count):
        self._point, self._count, self._lock = point, count, threading.Lock()

    def reached(self, point):
        with self._lock:
            self._count -= point == self._point
            if point == self._point and self._count == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class KillableChannel:
    """A channel that kills its process at a delivery if the kill point is reached."""

    def __init__(self, channel, kill_point):
        self._channel, self._kill_point = channel, kill_point
        self.traits = replace(
            channel.traits, interval_seconds=0.0
        )  # without pauses more kills hit a delivery

    def deliver(self, notification):
        self._kill_point.reached("before a delivery")
        receipt = self._channel.deliver(notification)
        self._kill_point.reached("after a delivery")
        return receipt


def policy():
    return Policy(
        {Severity.HIGH: ("ticket", "slack")},
        instance="coop",
        grouping_channels=frozenset({"slack"}),
    )


def channels(folder, urls):
    options = slack.Options(
        type="slack", token=Secret(file=folder / "token"), channel="C0SERENO", api_url=urls[1]
    )
    return {
        "ticket": webhook.Webhook(webhook.Options(type="webhook", url=urls[0]), Sender("coop")),
        "slack": slack.Slack(options, Sender("coop")),
    }


def run_child(folder, urls, number, kill_point, write_end):
    """Record alerts, resolve some and deliver the messages until killed."""
    store = KillableStore(folder / "state.db")
    object.__setattr__(store, "kill_point", kill_point)
    killable_channels = {
        name: KillableChannel(channel, kill_point)
        for name, channel in channels(folder, urls).items()
    }
    courier = Courier(store, killable_channels, policy())
    courier.take_over()
    courier.start(threading.Event())
    for count in range(ALERTS):
        finding = Finding(
            Identity("orphans", "coop", object=f"{number}-{count}"), Severity.HIGH, "7 rows"
        )
        resolved = [Coverage("orphans", object=f"{number}-{count - 1}")] if count % 3 == 2 else []
        with store.transaction() as transaction:
            outbox = AlertProcessor(transaction, policy(), datetime.now(UTC)).process(
                [finding], resolved
            )
        os.write(write_end, "".join(f"{one}\n" for one in outbox).encode())
    time.sleep(30)


def run_and_kill(folder, urls, number, random_source):
    """Run a child until it is killed; return the message ids that it printed after their commit."""
    point = random_source.choice((*POINTS, ""))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(read_end)
            run_child(
                folder, urls, number, KillPoint(point, random_source.randint(1, 60)), write_end
            )
        os._exit(1)
    os.close(write_end)
    if not point:
        time.sleep(random_source.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 2.0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:  # the kill point was not reached
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    with os.fdopen(read_end) as lines:
        return {line.strip() for line in lines}


def main():
    set_up(quiet=True)
    began, random_source, acknowledged = time.monotonic(), random.Random(7), set()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_secret(folder / "token", "xoxb-x")
        receivers = subprocess.Popen([sys.executable, "-c", RECEIVERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        urls = json.loads(receivers.stdout.readline())
        store = open_store(folder / "state.db")
        for number in range(KILLS):
            acknowledged |= run_and_kill(folder, urls, number, random_source)
        courier = Courier(store, channels(folder, urls), policy())
        for _ in range(20):
            with store.transaction() as transaction:  # end all back-offs
                transaction.execute(
                    "UPDATE notification SET not_before = created_at WHERE state = 'pending'"
                )
            if not courier.drain(120):
                break
        with store.reading() as transaction:
            rows = transaction.rows("SELECT id, channel, state, bundle FROM notification")
            alerts = transaction.row("SELECT count(*) AS n FROM alert")["n"]
        ids, posts, broken = json.loads(receivers.communicate("done\n")[0])
    outbox = {row["id"]: row for row in rows}
    tickets, slack_posts = Counter(ids), Counter(number for number, _ in posts)
    lost = len(acknowledged - outbox.keys()) + sum(row["state"] != "sent" for row in rows)
    slack_bundles = {row["bundle"] for row in rows if row["channel"] == "slack"}
    ticket_bundles = {row["bundle"] for row in rows if row["channel"] == "ticket"}
    lost += len(slack_bundles - slack_posts.keys()) + len(ticket_bundles - tickets.keys())
    unexpected = len(tickets.keys() - ticket_bundles) + len(slack_posts.keys() - slack_bundles)
    copies = (sum(tickets.values()) - len(tickets), sum(slack_posts.values()) - len(slack_posts))
    print(
        f"alerts: {KILLS} kills, {alerts} alerts, {len(outbox)} messages ({len(acknowledged)} printed after commit); "
        f"lost {lost}; copies: webhook {copies[0]} of {sum(tickets.values())}, Slack {copies[1]} of {sum(slack_posts.values())}; "
        f"unknown ids {unexpected}; refused by Slack {len(broken)}; {time.monotonic() - began:.0f} s"
    )
    sys.exit(bool(lost or unexpected or broken or copies[0] > KILLS or copies[1]))


if __name__ == "__main__":
    main()
