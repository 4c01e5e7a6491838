"""A hostile object name passes from a finding through every channel as escaped text."""

import json
from contextlib import contextmanager

import pytest

from alerts.channels.registry import CHANNELS
from domain.finding import Finding, Identity, Severity
from tests.faults.slack_stand_in import SlackStandIn
from tests.fixtures.notifications import Postbox, smtp
from tests.fixtures.secrets import write_secret

HOSTILE = 'public."<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"'


@contextmanager
def slack_workspace():
    slack = SlackStandIn(0.0)
    try:
        yield slack
    finally:
        slack.close()


@pytest.fixture
def every_channel(house, endpoint, tmp_path):
    """Configure one channel of each type; return the servers that receive."""
    server, postbox = endpoint(), Postbox()
    write_secret(tmp_path / "token", "xoxb-canary")
    (tmp_path / "command").write_text(f"#!/bin/sh\ncat >> {tmp_path}/input\n")
    (tmp_path / "command").chmod(0o755)
    token = f'{{ file = "{tmp_path}/token" }}'
    with slack_workspace() as slack, smtp(postbox) as port:
        channels = {
            "slack": f'token = {token}\nchannel = "#c"\napi_url = "{slack.url}"',
            "email": f'host = "localhost"\nport = {port}\nto = ["a@example.org"]\ntls = "none"',
            "webhook": f'url = "{server.url}"',
            "jira": f'url = "{server.url}"\ntoken = {token}\nproject = "P"',
            "pagerduty": f'url = "{server.url}/pd"\nrouting_key = {token}',
            "alertmanager": f'url = "{server.url}/am"',
            "command": f'command = ["{tmp_path}/command"]',
            "log": "",
        }
        assert channels.keys() <= CHANNELS.keys()
        house.extra = "".join(
            f'[channels.{kind}]\ntype = "{kind}"\n{options}\n' for kind, options in channels.items()
        )
        house.extra += f"[routes]\ncritical = {json.dumps(list(channels))}\n"
        house.with_logins = False
        yield server, slack, postbox


def test_hostile_object_name_is_escaped_in_every_channel(house, every_channel, tmp_path):
    server, slack, postbox = every_channel
    identity = Identity("orphans", "test", database="main", object=HOSTILE)
    context = house.context()
    context.process_findings(
        [Finding(identity, Severity.CRITICAL, f"7 rows of {HOSTILE}", remedy="mend it")]
    )
    assert context.courier().drain(20) == 0
    (message,), ((mail, _, _),) = slack.messages, postbox.mails
    text = json.dumps(message["blocks"]) + message["text"]
    assert ("<!" in text, "&lt;!channel&gt;" in text) == (False, True)
    assert mail["Bcc"] is None
    assert "<b>x" not in mail.get_body(("html",)).get_content()
    bodies = {request["path"]: json.loads(request["body"]) for request in server.requests}
    assert len(bodies) == 4
    expected = HOSTILE.replace("\r\n", "  ")
    assert bodies["/"]["data"]["object"] == bodies["/pd"]["payload"]["component"] == expected
    assert bodies["/am/api/v2/alerts"][0]["labels"]["object"] == expected
    assert json.loads((tmp_path / "input").read_text())["data"]["object"] == expected
    assert "canary" not in str(bodies["/"])
