"""`sereno alerts …`, as who is on call uses it; and what the service does by itself."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from alerts.channels.registry import CHANNELS
from daemon.periodic_alerts import run_periodic_alerts
from domain.finding import Finding, Identity, Severity

TICKETS = """
[alerts]
group_wait = "100ms"
{more}
[channels.ticket]
type = "webhook"
url = "{url}"
[routes]
warning = ["ticket"]
high = ["ticket"]
critical = ["ticket"]
"""


def found(name="x", severity=Severity.CRITICAL):
    return Finding(Identity("orphans", "test", database="main", object=name), severity, f"7 rows of {name}", remedy="mend it")  # fmt: skip


@pytest.fixture
def desk(house, endpoint):
    """A house with a ticket system, and one open alert."""
    house.place = endpoint()
    house.with_logins = False
    house.extra = TICKETS.format(url=house.place.url, more="")
    house.context().process_findings([found()])
    return house


def said(house):
    return [json.loads(request["body"])["data"]["reason"] for request in house.place.requests]


def test_show_tells_the_whole_story(desk):
    desk.sereno("alerts", "ack", "1", "--as", "ana", "--for", "8h")
    shown = desk.sereno("alerts", "show", "1").stdout
    for word in (
        "main  orphans  x",
        "7 rows of x",
        "remedy: mend it",
        "acknowledged by: ana",
        "ticket  opened",
        "T-1",
    ):
        assert word in shown
    story = json.loads(desk.sereno("alerts", "show", "1", "--json").stdout)
    assert [(event["reason"], event["who"]) for event in story["events"]] == [
        ("acknowledged", "ana"),
        ("opened", ""),
    ]
    assert {message["state"] for message in story["messages"]} == {"sent"}
    assert said(desk) == ["opened"]  # both at once: one ticket, as it is now
    desk.sereno("alerts", "ack", "1", "--as", "eva")
    shown = desk.sereno("alerts", "show", "1").stdout
    assert all(
        f"acknowledged by {who}" in shown for who in ("ana", "eva")
    )  # whom she took it over from stays known


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "9"), "there is no alert 9"), (("ack", "9"), "there is no open alert 9"),
        (("ack", "1", "--for", "soon"), "is not a duration"), (("unsilence", "9"), "there is no active silence 9"),
        (("silence", "--reason", "x", "--for", "2h"), "give a pattern"),
        (("silence", "--reason", "x", "--for", "x", "--check", "orphans"), "is not a duration"),
        (("silence", "--reason", "x", "--for", "2h", "--severity", "loud"), "is not one of"),
        (("silence", "--reason", "x", "--for", "2h", "--check", "a", "--check", "b"), "one pattern"),
        (("test", "nobody"), "there is no channel"),
    ],
)  # fmt: skip
def test_wrong_words_get_a_sentence_and_change_nothing(desk, words, sentence):
    done = desk.sereno("alerts", *words, check=False)
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
    assert json.loads(desk.sereno("alerts", "silences", "--json").stdout) == []
    assert [one["state"] for one in json.loads(desk.sereno("alerts", "list", "--json").stdout)] == [
        "firing"
    ]


def test_a_silence_is_seen_and_ended(desk):
    made = desk.sereno(
        "alerts",
        "silence",
        "--object",
        "y*",
        "--reason",
        "moving house",
        "--for",
        "2h",
        "--as",
        "ana",
    )
    assert ("silence 1 until" in made.stdout, "it matches 0 open alerts" in made.stdout) == (
        True,
        True,
    )
    desk.context().process_findings([found("y7")])
    (silence,) = json.loads(desk.sereno("alerts", "silences", "--json").stdout)
    assert (silence["matches"], silence["author"], silence["reason"]) == (
        "object y*",
        "ana",
        "moving house",
    )
    listed = {
        one["object"]: one["suppressed_by"]
        for one in json.loads(desk.sereno("alerts", "list", "--json").stdout)
    }
    assert (listed["x"], "moving house" in listed["y7"]) == ("", True)
    whole = desk.sereno(
        "alerts", "silence", "--object", "*7", "--reason", "night", "--for", "2h", "--json"
    ).stdout
    assert json.loads(whole)["open"] == 1
    desk.sereno("alerts", "unsilence", "2")
    desk.sereno("alerts", "unsilence", "1")
    run_periodic_alerts(desk.context(), datetime.now(UTC))
    desk.sereno("alerts", "test")
    assert sorted(said(desk)) == ["channel_test", "opened", "unmuted"]


def test_the_outbox_says_what_waits_and_why(desk):
    desk.place.answer = lambda *_: (503, {"Retry-After": "600"}, b"maintenance")
    desk.sereno("alerts", "test")
    (one, two) = json.loads(desk.sereno("alerts", "outbox", "--json").stdout)
    assert {one["last_error"], two["last_error"]} == {
        "",
        "HTTP 503: maintenance",
    }  # nothing more is tried for so long
    assert "HTTP 503" in desk.sereno("alerts", "outbox").stdout


def test_a_drill_comes_at_its_time_and_is_made_up_for(house, endpoint, monkeypatch):
    house.place = endpoint()
    house.extra = TICKETS.format(url=house.place.url, more='channel_test = "weekly"')
    house.with_logins = False
    context = house.context()
    monday = datetime(2026, 3, 2, 14, tzinfo=UTC)  # ten o'clock in La Paz

    def at(moment, since):
        from dataclasses import replace

        clocked = replace(context, clock=lambda: moment)
        run_periodic_alerts(clocked, since)
        clocked.courier().drain(5)
        return said(house).count("channel_test")

    began = monday - timedelta(days=1)
    assert at(monday - timedelta(minutes=1), began) == 0
    assert at(monday, began) == 1
    assert at(monday + timedelta(hours=1), began) == 1
    assert at(monday + timedelta(days=9), monday + timedelta(days=9)) == 2


WRONG = {
    '[alerts]\nbusiness_hours = "9 to 5"': "alerts.business_hours",
    '[alerts]\ngroup_wait = "soon"': "alerts.group_wait",
    '[[alerts.routes]]\ncheck = "orphans"\nchannels = ["nobody"]': "alerts.routes[0].channels[0]: there is no channel 'nobody'",
    "[[alerts.thresholds]]\nfailures = 0": "alerts.thresholds[0].failures",
    "[[alerts.thresholds]]\nfailure = 2": "did you mean 'failures'?",
    '[[alerts.maintenance]]\ncron = "0 1 * * sat"\nduration = "3h"': "alerts.maintenance[0].author: is required",
    '[escalation]\nfallback = ["nobody"]': "escalation.fallback[0]",
    '[[escalation.steps]]\nafter = "30m"\nchannels = ["nobody"]': "escalation.steps[0].channels[0]",
    '[channels.j]\ntype = "jira"\nurl = "http://jira.example.org"\ntoken = { env = "X" }\nproject = "P"': "unencrypted",
    '[channels.c]\ntype = "command"\ncommand = ["tell"]': "absolute path",
    '[channels.p]\ntype = "pagerduty"\nrouting_key = "abc"': "never the secret itself",
}


@pytest.mark.parametrize("extra", list(WRONG))
def test_what_is_wrong_with_the_rules_is_named_with_its_path(house, extra):
    house.extra = extra
    done = house.sereno("config", "check", check=False)
    assert (done.returncode, WRONG[extra] in done.stderr) == (78, True), done.stderr


def test_rules_reach_from_the_file_to_the_decision(house, endpoint):
    house.extra = TICKETS.format(
        url=endpoint().url,
        more="""
hide_addresses = true
business_hours = "mon-fri 08:00-18:00"
[[alerts.thresholds]]
check = "orphans"
failures = 2
[[alerts.routes]]
tag = "billing"
channels = ["log"]
[[alerts.maintenance]]
cron = "* * * * *"
duration = "2m"
object = "quiet"
author = "ana"
reason = "always"
[channels.log]
type = "log"
[[escalation.steps]]
after = "10m"
channels = ["log"]
""",
    )
    path = house.write()
    path.write_text(
        path.read_text().replace("[databases.main]", '[databases.main]\ntags = ["billing"]')
    )
    from daemon.bootstrap import build_context
    from daemon.config.load import load_config
    from daemon.registry import JOB_NAMES

    policy = build_context(load_config(path, JOB_NAMES)).policy
    assert policy.thresholds[0].failures == 2
    assert policy.escalation_steps[0].after == timedelta(minutes=10)
    assert policy.windows(datetime.now(UTC))[0].reason == "always"
    assert policy.hours is not None
    assert policy.hide_addresses
    assert policy.periods["log_cleanup"] == timedelta(days=1)
    context = house.context()
    assert context.policy.acknowledging_channels == {"ticket"}


HOSTILE = 'public."<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"'


def test_a_hostile_name_goes_through_the_whole_house_as_text(house, endpoint, tmp_path):
    """From a finding to every channel there is: what arrives is harmless."""
    from aiosmtpd.controller import Controller

    from daemon.demo.cluster import free_port
    from tests.e2e.test_delivery import Postbox
    from tests.faults.slack_stand_in import SlackStandIn

    place, chat, postbox = endpoint(), SlackStandIn(0.0), Postbox()
    mail = Controller(postbox, hostname="127.0.0.1", port=free_port())
    mail.start()
    (tmp_path / "token").write_text("xoxb-canary")
    (tmp_path / "tell").write_text(f"#!/bin/sh\ncat >> {tmp_path}/told\n")
    (tmp_path / "tell").chmod(0o755)
    token = f'{{ file = "{tmp_path}/token" }}'
    each = {
        "slack": f'token = {token}\nchannel = "#c"\napi_url = "{chat.url}"',
        "email": f'host = "127.0.0.1"\nport = {mail.port}\nto = ["a@example.org"]\ntls = "none"',
        "webhook": f'url = "{place.url}"',
        "jira": f'url = "{place.url}"\ntoken = {token}\nproject = "P"',
        "pagerduty": f'url = "{place.url}/pd"\nrouting_key = {token}',
        "alertmanager": f'url = "{place.url}/am"',
        "command": f'command = ["{tmp_path}/tell"]',
        "log": "",
    }
    assert each.keys() <= CHANNELS.keys()
    house.extra = "".join(
        f'[channels.{kind}]\ntype = "{kind}"\n{options}\n' for kind, options in each.items()
    )
    house.extra += f"[routes]\ncritical = {json.dumps(list(each))}\n"
    house.with_logins = False
    context = house.context()
    try:
        context.process_findings([found(HOSTILE)])
        assert context.courier().drain(20) == 0
    finally:
        mail.stop()
        chat.close()
    (post,), ((letter, _, _),) = chat.messages, postbox.mails
    spoken = json.dumps(post["blocks"]) + post["text"]
    assert ("<!" in spoken, "&lt;!channel&gt;" in spoken) == (False, True)
    assert letter["Bcc"] is None
    assert "<b>x" not in letter.get_body(("html",)).get_content()
    bodies = {request["path"]: json.loads(request["body"]) for request in place.requests}
    assert len(bodies) == 4
    shown = HOSTILE.replace("\r\n", "  ")
    assert bodies["/"]["data"]["object"] == bodies["/pd"]["payload"]["component"] == shown
    assert bodies["/am/api/v2/alerts"][0]["labels"]["object"] == shown
    assert json.loads((tmp_path / "told").read_text())["data"]["object"] == shown
    assert "canary" not in str(bodies["/"])
