"""`sereno alerts`: show, acknowledge, silence, outbox, channel test; alert rules of the file."""

import getpass
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from alerts.channels.webhook import Webhook
from daemon.cli.delivery import deliver_pending
from daemon.cli.main import app
from daemon.config import load
from daemon.periodic_alerts import run_periodic_alerts
from domain.finding import Finding, Identity, Severity

TICKET_CHANNEL = """
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


def finding(name="x", severity=Severity.CRITICAL):
    identity = Identity("orphans", "test", database="main", object=name)
    return Finding(identity, severity, f"7 rows of {name}", remedy="mend it")


@pytest.fixture
def alerting(house, endpoint):
    """A configured sereno with a ticket channel and one open alert."""
    house.server = endpoint()
    house.with_logins = False
    house.extra = TICKET_CHANNEL.format(url=house.server.url, more="")
    house.context().process_findings([finding()])
    return house


def notified_reasons(house):
    return [json.loads(request["body"])["data"]["reason"] for request in house.server.requests]


def test_alerts_show_lists_events_and_messages(alerting):
    alerting.sereno("alerts", "ack", "1", "--as", "ana", "--for", "8h")
    deliver_pending(alerting.context(), 10)
    shown = alerting.sereno("alerts", "show", "1").stdout
    for text in (
        "main  orphans  x",
        "7 rows of x",
        "remedy: mend it",
        "acknowledged by: ana",
        "ticket  opened",
        "T-1",
    ):
        assert text in shown
    details = json.loads(alerting.sereno("alerts", "show", "1", "--json").stdout)
    assert [(event["reason"], event["who"]) for event in details["events"]] == [
        ("acknowledged", "ana"),
        ("opened", ""),
    ]
    assert {message["state"] for message in details["messages"]} == {"sent"}
    # Opened and acknowledged within group_wait: one message.
    assert notified_reasons(alerting) == ["opened"]
    answer = alerting.sereno("alerts", "ack", "1", "--as", "eva", "--for", "8h").stdout
    assert "acknowledged until " in answer
    shown = alerting.sereno("alerts", "show", "1").stdout
    assert all(f"acknowledged by {who}" in shown for who in ("ana", "eva"))
    alerting.sereno("alerts", "resolve", "1")
    again = alerting.sereno("alerts", "resolve", "1", check=False)
    assert (again.returncode, "alert 1 is already resolved" in again.stderr) == (2, True)


def test_ack_builds_no_channel_and_reads_no_check(alerting, monkeypatch):
    def refuse(*_):
        raise AssertionError("not needed by an acknowledgement")

    monkeypatch.setattr(Webhook, "__init__", refuse)
    monkeypatch.setattr(load, "load", refuse)
    checks = alerting.folder / "checks.d"
    checks.mkdir()
    (checks / "broken.sql").write_text("not a check")
    done = CliRunner().invoke(app, ["alerts", "ack", "1", "--config", str(alerting.path)])
    assert done.exit_code == 0, done.output
    assert "acknowledged" in done.output
    monkeypatch.undo()
    (checks / "broken.sql").unlink()
    deliver_pending(alerting.context(), 10)
    assert notified_reasons(alerting) == ["opened"]
    details = json.loads(alerting.sereno("alerts", "show", "1", "--json").stdout)
    assert details["events"][0]["who"] == getpass.getuser()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("show", "9"), "there is no alert 9"),
        (("ack", "9"), "there is no alert 9"),
        (("ack", "1", "--for", "soon"), "is not a duration"),
        (("unsilence", "9"), "there is no active silence 9"),
        (("silence", "--reason", "x", "--for", "2h"), "give a pattern"),
        (("silence", "--reason", "x", "--for", "x", "--check", "orphans"), "is not a duration"),
        (("silence", "--reason", "x", "--for", "2h", "--severity", "loud"), "is not one of"),
        (
            ("silence", "--reason", "x", "--for", "2h", "--check", "a", "--check", "b"),
            "one pattern",
        ),
        (("test", "nobody"), "there is no channel"),
    ],
)
def test_alerts_rejects_invalid_arguments_without_changes(alerting, arguments, error):
    done = alerting.sereno("alerts", *arguments, check=False)
    assert (done.returncode, error in done.stderr) == (2, True), done.stderr
    assert json.loads(alerting.sereno("alerts", "silences", "--json").stdout) == []
    listed = json.loads(alerting.sereno("alerts", "list", "--json").stdout)
    assert [one["state"] for one in listed] == ["firing"]


def test_silence_is_listed_applied_and_ended(alerting):
    arguments = ("--object", "y*", "--reason", "moving house", "--for", "2h", "--as", "ana")
    output = alerting.sereno("alerts", "silence", *arguments).stdout
    assert ("silence 1 until" in output, "it matches 0 open alerts" in output) == (True, True)
    alerting.context().process_findings([finding("y7")])
    (silence,) = json.loads(alerting.sereno("alerts", "silences", "--json").stdout)
    assert (silence["matches"], silence["author"], silence["reason"]) == (
        "object y*",
        "ana",
        "moving house",
    )
    listed = {
        one["object"]: one["suppressed_by"]
        for one in json.loads(alerting.sereno("alerts", "list", "--json").stdout)
    }
    assert (listed["x"], "moving house" in listed["y7"]) == ("", True)
    silenced = alerting.sereno(
        "alerts", "silence", "--object", "*7", "--reason", "night", "--for", "2h", "--json"
    ).stdout
    assert json.loads(silenced)["open"] == 1
    alerting.sereno("alerts", "unsilence", "2")
    alerting.sereno("alerts", "unsilence", "1")
    run_periodic_alerts(alerting.context(), datetime.now(UTC))
    alerting.sereno("alerts", "test")
    assert sorted(notified_reasons(alerting)) == ["channel_test", "opened", "unmuted"]


def test_alerts_outbox_lists_pending_notifications_with_the_last_error(alerting):
    alerting.server.answer = lambda *_: (503, {"Retry-After": "600"}, b"maintenance")
    alerting.sereno("alerts", "test")
    (one, two) = json.loads(alerting.sereno("alerts", "outbox", "--json").stdout)
    # Retry-After holds the second one back too.
    assert {one["last_error"], two["last_error"]} == {"", "HTTP 503: maintenance"}
    assert "HTTP 503" in alerting.sereno("alerts", "outbox").stdout


def test_scheduled_channel_test_runs_on_time_and_is_caught_up(house, endpoint, monkeypatch):
    house.server = endpoint()
    house.extra = TICKET_CHANNEL.format(url=house.server.url, more='channel_test = "weekly"')
    house.with_logins = False
    context = house.context()
    monday = datetime(2026, 3, 2, 14, tzinfo=UTC)  # ten o'clock in La Paz

    def count_tests(now, started):
        changed = replace(context, clock=lambda: now)
        run_periodic_alerts(changed, started)
        changed.courier().drain(5)
        return notified_reasons(house).count("channel_test")

    started = monday - timedelta(days=1)
    assert count_tests(monday - timedelta(minutes=1), started) == 0
    assert count_tests(monday, started) == 1
    assert count_tests(monday + timedelta(hours=1), started) == 1
    assert count_tests(monday + timedelta(days=9), monday + timedelta(days=9)) == 2


INVALID = {
    '[alerts]\nbusiness_hours = "9 to 5"': "alerts.business_hours",
    '[alerts]\ngroup_wait = "soon"': "alerts.group_wait",
    '[[alerts.routes]]\ncheck = "orphans"\nchannels = ["nobody"]': (
        "alerts.routes[0].channels[0]: there is no channel 'nobody'"
    ),
    "[[alerts.thresholds]]\nfailures = 0": "alerts.thresholds[0].failures",
    "[[alerts.thresholds]]\nfailure = 2": "did you mean 'failures'?",
    '[[alerts.maintenance]]\ncron = "0 1 * * sat"\nduration = "3h"': (
        "alerts.maintenance[0].author: is required"
    ),
    '[escalation]\nfallback = ["nobody"]': "escalation.fallback[0]",
    '[[escalation.steps]]\nafter = "30m"\nchannels = ["nobody"]': "escalation.steps[0].channels[0]",
    '[channels.j]\ntype = "jira"\nurl = "http://jira.example.org"\n'
    'token = { env = "X" }\nproject = "P"': "unencrypted",
    '[channels.c]\ntype = "command"\ncommand = ["tell"]': "absolute path",
    '[channels.p]\ntype = "pagerduty"\nrouting_key = "abc"': "never the secret itself",
}


@pytest.mark.parametrize("extra", list(INVALID))
def test_config_check_reports_the_path_of_an_invalid_alert_rule(house, extra):
    house.extra = extra
    done = house.sereno("config", "check", check=False)
    assert (done.returncode, INVALID[extra] in done.stderr) == (78, True), done.stderr


RULES = """
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
"""


def test_alert_rules_are_loaded_into_the_policy(house, endpoint):
    house.extra = TICKET_CHANNEL.format(url=endpoint().url, more=RULES)
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
