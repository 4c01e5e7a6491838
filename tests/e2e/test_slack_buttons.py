"""The Acknowledge button in Slack: Socket Mode connection, payload, effect on the alert."""

import pytest

from alerts.channels.slack_buttons import Line, listen, pressed
from tests.faults.slack_stand_in import ButtonLine, SlackStandIn
from tests.fixtures.secrets import write_secret

SLACK = """
[alerts]
group_wait = "100ms"
[channels.slack]
type = "slack"
token = {{ file = "{folder}/token" }}
app_token = {{ file = "{folder}/token" }}
channel = "#ops"
api_url = "{url}"
[routes]
warning = ["slack"]
high = ["slack"]
critical = ["slack"]
"""


@pytest.fixture
def workspace():
    slack, socket = SlackStandIn(0.0), ButtonLine()
    slack.sockets = [socket.url]
    yield slack, socket
    socket.close()
    slack.close()


def test_button_press_is_answered_and_a_lost_connection_is_reopened(workspace, wait):
    slack, socket = workspace
    acknowledged = []
    stop = listen(
        Line(lambda: ("xoxb-x", "xapp-x"), slack.url),
        lambda alert, by: acknowledged.append((alert, by)),
    )
    try:
        assert socket.connected.wait(10)
        socket.press("7,8")
        assert wait(lambda: len(acknowledged) == 2 and acknowledged) == [
            (7, "ana (Slack)"),
            (8, "ana (Slack)"),
        ]
        assert wait(lambda: socket.answers)[0]["envelope_id"] == "e-7,8"
        socket.hang_up()
        assert socket.connected.wait(20)
        socket.press("9", name="<!channel>")
        assert wait(lambda: acknowledged[2:]) == [(9, "<!channel> (Slack)")]
    finally:
        stop()


@pytest.mark.parametrize("value", ["", "x", "1;DROP", "-1", "1" * 30, "٣"])
def test_button_value_that_is_not_a_number_is_ignored(value):
    payload = {"user": {"id": "U1"}, "actions": [{"action_id": "acknowledge", "value": value}]}
    assert pressed(payload) == []
    assert pressed({"user": None, "actions": [{"action_id": "another", "value": "1"}]}) == []


def test_service_acknowledges_on_button_press(house, workspace, wait):
    slack, socket = workspace
    house.extra = SLACK.format(folder=house.folder, url=slack.url)
    write_secret(house.folder / "token", "x-canary")
    house.with_logins = False
    service = house.start("run")
    try:
        assert socket.connected.wait(20)
        from domain.finding import Finding, Identity, Severity

        context = house.context()
        context.process_findings(
            [Finding(Identity("orphans", "test", object="x"), Severity.CRITICAL, "7 rows")]
        )
        (first,) = wait(lambda: slack.messages)
        socket.press("1")
        wait(lambda: "ana (Slack)" in str(first["blocks"]), what="the edit")
        assert "ana (Slack)" in house.sereno("alerts", "show", "1").stdout
    finally:
        service.terminate()
        output, _ = service.communicate(timeout=20)
    assert service.returncode == 0
    assert "canary" not in output
