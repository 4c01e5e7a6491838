"""SIGKILL to whoever writes down and delivers alerts: at every named point, and at random. Nothing is lost.

A child (forked, so that it lives at once) tells of troubles and carries the messages: to a ticket system, a ticket
an alert, and to Slack, many in one message. It is killed before and after each commit, before and after each delivery,
or at any moment. Both sides are processes of their own. Every message that is owed arrives; there are no more copies
than kills, each with the id that was committed; Slack, which can be asked, has none.
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
from store.store import Store, open_store

KILLS, ALERTS = int(sys.argv[1]) if sys.argv[1:] else 1_000, 20
POINTS = ("before a commit", "after a commit", "before a delivery", "after a delivery")
PARTIES = """
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


class Mortal(Store):
    """A store whose owner dies at a commit, if it is his time."""

    __slots__ = ("hour",)

    @contextmanager
    def transaction(self):
        with super().transaction() as transaction:
            yield transaction
            self.hour.strike("before a commit")
        self.hour.strike("after a commit")


class Hour:
    """When somebody dies: at the so-and-so-many-th time of a point."""

    def __init__(self, point, count):
        self._point, self._count, self._lock = point, count, threading.Lock()

    def strike(self, point):
        with self._lock:
            self._count -= point == self._point
            if point == self._point and self._count == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Last:
    """A channel that may be the last thing that somebody uses."""

    def __init__(self, channel, hour):
        self._channel, self._hour = channel, hour
        self.traits = replace(
            channel.traits, interval_seconds=0.0
        )  # the more there is to interrupt

    def deliver(self, notification):
        self._hour.strike("before a delivery")
        receipt = self._channel.deliver(notification)
        self._hour.strike("after a delivery")
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


def live(folder, urls, number, hour, said):
    """Tell of troubles, let some be over, carry the messages; until somebody puts an end to it."""
    store = Mortal(folder / "state.db")
    object.__setattr__(store, "hour", hour)
    ways = {name: Last(channel, hour) for name, channel in channels(folder, urls).items()}
    courier = Courier(store, ways, policy())
    courier.take_over()
    courier.start(threading.Event())
    for count in range(ALERTS):
        finding = Finding(
            Identity("orphans", "coop", object=f"{number}-{count}"), Severity.HIGH, "7 rows"
        )
        over = [Coverage("orphans", object=f"{number}-{count - 1}")] if count % 3 == 2 else []
        with store.transaction() as transaction:
            owed = AlertProcessor(transaction, policy(), datetime.now(UTC)).process([finding], over)
        os.write(said, "".join(f"{one}\n" for one in owed).encode())
    time.sleep(30)


def generation(folder, urls, number, draw):
    """One life; return the ids of the messages that it knew to be owed."""
    point = draw.choice((*POINTS, ""))
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(heard)
            live(folder, urls, number, Hour(point, draw.randint(1, 60)), said)
        os._exit(1)
    os.close(said)
    if not point:
        time.sleep(draw.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 2.0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:  # its hour has not come
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    with os.fdopen(heard) as lines:
        return {line.strip() for line in lines}


def main():
    set_up(quiet=True)
    began, draw, acknowledged = time.monotonic(), random.Random(7), set()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "token").write_text("xoxb-x")
        parties = subprocess.Popen([sys.executable, "-c", PARTIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        urls = json.loads(parties.stdout.readline())
        store = open_store(folder / "state.db")
        for number in range(KILLS):
            acknowledged |= generation(folder, urls, number, draw)
        courier = Courier(store, channels(folder, urls), policy())
        for _ in range(20):
            with store.transaction() as transaction:  # nobody waits for a back-off
                transaction.execute(
                    "UPDATE notification SET not_before = created_at WHERE state = 'pending'"
                )
            if not courier.drain(120):
                break
        with store.reading() as transaction:
            rows = transaction.rows("SELECT id, channel, state, bundle FROM notification")
            alerts = transaction.row("SELECT count(*) AS n FROM alert")["n"]
        ids, posts, broken = json.loads(parties.communicate("done\n")[0])
    owed = {row["id"]: row for row in rows}
    tickets, slack_posts = Counter(ids), Counter(number for number, _ in posts)
    lost = len(acknowledged - owed.keys()) + sum(row["state"] != "sent" for row in rows)
    bundles = {row["bundle"] for row in rows if row["channel"] == "slack"}
    copies_of = {row["bundle"] for row in rows if row["channel"] == "ticket"}
    lost += len(bundles - slack_posts.keys()) + len(copies_of - tickets.keys())
    strange = len(tickets.keys() - copies_of) + len(slack_posts.keys() - bundles)
    doubles = (sum(tickets.values()) - len(tickets), sum(slack_posts.values()) - len(slack_posts))
    print(
        f"alerts: killed {KILLS} times, {alerts} alerts, {len(owed)} messages owed ({len(acknowledged)} known to the dead); "
        f"lost {lost}; copies: tickets {doubles[0]} of {sum(tickets.values())}, Slack {doubles[1]} of {sum(slack_posts.values())}; "
        f"with an id that nobody owed {strange}; messages that Slack refused {len(broken)}; {time.monotonic() - began:.0f} s"
    )
    sys.exit(bool(lost or strange or broken or doubles[0] > KILLS or doubles[1]))


if __name__ == "__main__":
    main()
