"""The button Acknowledge, over a WebSocket of our own making: pressed in Slack, it is acknowledged here."""

import pytest

from alerts.channels.slack_buttons import Line, listen, pressed
from tests.faults.slack_stand_in import ButtonLine, SlackStandIn

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
    slack, line = SlackStandIn(0.0), ButtonLine()
    slack.sockets = [line.url]
    yield slack, line
    line.close()
    slack.close()


def test_who_presses_is_heard_and_answered_and_a_lost_line_comes_back(workspace, wait):
    slack, line = workspace
    taken = []
    end = listen(
        Line(lambda: ("xoxb-x", "xapp-x"), slack.url), lambda alert, by: taken.append((alert, by))
    )
    try:
        assert line.connected.wait(10)
        line.press("7,8")
        assert wait(lambda: len(taken) == 2 and taken) == [(7, "ana (Slack)"), (8, "ana (Slack)")]
        assert wait(lambda: line.answers)[0]["envelope_id"] == "e-7,8"
        line.hang_up()
        assert line.connected.wait(20)
        line.press("9", name="<!channel>")
        assert wait(lambda: taken[2:]) == [(9, "<!channel> (Slack)")]
    finally:
        end()


@pytest.mark.parametrize("value", ["", "x", "1;DROP", "-1", "1" * 30, "٣"])
def test_what_is_no_number_is_nothing(value):
    payload = {"user": {"id": "U1"}, "actions": [{"action_id": "acknowledge", "value": value}]}
    assert pressed(payload) == []
    assert pressed({"user": None, "actions": [{"action_id": "another", "value": "1"}]}) == []


def test_the_service_takes_it(house, workspace, wait):
    slack, line = workspace
    house.extra = SLACK.format(folder=house.folder, url=slack.url)
    (house.folder / "token").write_text("x-canary")
    house.with_logins = False
    service = house.start("run")
    try:
        assert line.connected.wait(20)
        from domain.finding import Finding, Identity, Severity

        context = house.context()
        context.process_findings(
            [Finding(Identity("orphans", "test", object="x"), Severity.CRITICAL, "7 rows")]
        )
        (first,) = wait(lambda: slack.messages)
        line.press("1")
        wait(lambda: "ana (Slack)" in str(first["blocks"]), what="the edit")
        assert "ana (Slack)" in house.sereno("alerts", "show", "1").stdout
    finally:
        service.terminate()
        output, _ = service.communicate(timeout=20)
    assert service.returncode == 0
    assert "canary" not in output
