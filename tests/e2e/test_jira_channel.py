"""The Jira channel against a fake of its REST API: issues, comments, transitions, failures."""

import json
import re
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from alerts.alert import UNRECORDED, Reason
from alerts.channels import jira
from alerts.channels.channel import DeliveryError, Failure, Sender
from domain.finding import Severity
from domain.secret import Secret
from tests.fixtures.secrets import write_secret

HOSTILE = 'public."<!channel> [~admin] {code} & <b>x</b> \'; x"'


@pytest.fixture
def secret(tmp_path):
    write_secret(tmp_path / "secret", "canary-token")
    return Secret(file=tmp_path / "secret")


class FakeJira:
    """A fake of Jira's REST API: issues, comments, transitions, search by label."""

    def __init__(self):
        self.issues, self.drop, self.cloud = {}, 0, True

    def __call__(self, _number, request):
        path, _, query = request["path"].partition("?")
        body = json.loads(request["body"] or b"{}")
        path = path.removeprefix("/rest/api/2/")
        if path.startswith("search"):
            return self._search(path, parse_qs(query)["jql"][0])
        return self._create(body) if path == "issue" else self._update(path, body)

    def _create(self, body):
        key = f"OPS-{len(self.issues) + 1}"
        at = datetime.now(UTC).isoformat()
        self.issues[key] = {"fields": body["fields"], "comments": [], "state": "To Do", "at": at}
        if self.drop:
            self.drop -= 1
            return None
        return 201, {}, json.dumps({"key": key}).encode()

    def _search(self, path, jql):
        if path == "search/jql" and not self.cloud:
            return 404, {}, b"{}"
        label = re.search(r'labels = "(.*?)"', jql)[1]
        found = [
            {"key": key} for key, issue in self.issues.items() if label in issue["fields"]["labels"]
        ]
        return 200, {}, json.dumps({"issues": found}).encode()

    def _update(self, path, body):
        key, _, resource = path.removeprefix("issue/").partition("/")
        if key not in self.issues:
            return 404, {}, b'{"errorMessages":["Issue does not exist"]}'
        if resource == "comment":
            self.issues[key]["comments"].append(body["body"])
        elif body:
            self.issues[key]["state"] = {"11": "To Do", "31": "Done"}[body["transition"]["id"]]
        else:
            transitions = [
                {"id": "11", "name": "Reopen", "to": {"name": "To Do"}},
                {"id": "31", "name": "Done"},
            ]
            return 200, {}, json.dumps({"transitions": transitions}).encode()
        return 201, {}, b"{}"


@pytest.fixture
def jira_channel(endpoint, secret):
    fake = FakeJira()
    server = endpoint(fake)
    options = jira.Options(
        type="jira",
        url=server.url,
        user="bot@example.org",
        token=secret,
        project="OPS",
        priorities={"high": "High"},
    )
    return fake, server, jira.Jira(options, Sender("coop"))


def test_jira_issue_is_created_commented_closed_and_reopened(jira_channel, notify):
    fake, _, channel = jira_channel
    key = channel.deliver(notify(fingerprint="f" * 32)).remote
    fields = fake.issues[key]["fields"]
    assert (fields["project"], fields["priority"]) == ({"key": "OPS"}, {"name": "High"})
    assert f"sereno-{'f' * 32}" in fields["labels"]
    channel.deliver(notify("n2", thread=key, reason=Reason.RAISED, severity=Severity.CRITICAL))
    channel.deliver(notify("n3", thread=key, reason=Reason.RESOLVED))
    assert fake.issues[key]["state"] == "Done"
    assert channel.deliver(notify("n4", thread=key, reason=Reason.REOPENED)).remote == key
    assert fake.issues[key]["state"] == "To Do"
    assert [comment.partition(":")[0] for comment in fake.issues[key]["comments"]] == [
        "CRITICAL (severity\\_raised)".replace("\\", ""),
        "RESOLVED",
        "HIGH (reopened)",
    ]


@pytest.mark.parametrize("cloud", [True, False])
def test_jira_issue_is_not_created_twice_after_a_lost_response(jira_channel, notify, cloud):
    fake, _, channel = jira_channel
    fake.drop, fake.cloud = 1, cloud
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert caught.value.failure is Failure.AMBIGUOUS
    assert channel.deliver(notify(again=True)).remote == "OPS-1"
    assert len(fake.issues) == 1


def test_jira_creates_no_issue_for_an_alert_already_resolved(jira_channel, notify):
    fake, _, channel = jira_channel
    assert "none was created" in channel.deliver(notify(reason=Reason.RESOLVED)).words
    assert fake.issues == {}


def test_jira_channel_test_closes_its_issue(jira_channel, notify):
    fake, _, channel = jira_channel
    channel.deliver(notify(reason=Reason.CHANNEL_TEST))
    assert fake.issues["OPS-1"]["state"] == "Done"


def test_jira_markup_in_object_names_is_escaped(jira_channel, notify):
    fake, server, channel = jira_channel
    channel.deliver(
        notify(title=HOSTILE, summary=HOSTILE, object=HOSTILE, details={HOSTILE: HOSTILE})
    )
    description = fake.issues["OPS-1"]["fields"]["description"]
    assert "[~" not in description.replace("\\[", "")
    assert "{code}" not in description.replace("\\{", "")
    assert server.requests[0]["headers"]["authorization"].startswith("Basic ")


def test_jira_error_message_contains_no_token(endpoint, secret, notify):
    server = endpoint((400, {}, b'{"errors":{"project":"project is required, canary-token"}}'))
    channel = jira.Jira(
        jira.Options(type="jira", url=server.url, token=secret, project="X"), Sender("c")
    )
    with pytest.raises(DeliveryError, match="project is required") as caught:
        channel.deliver(notify())
    assert caught.value.failure is Failure.PERMANENT
    assert server.requests[0]["headers"]["authorization"] == "Bearer canary-token"


def test_jira_recreates_a_deleted_issue(jira_channel, notify):
    _, _, channel = jira_channel
    receipt = channel.deliver(notify(thread="OPS-99", reason=Reason.RAISED))
    assert (receipt.remote, receipt.replaced) == ("OPS-1", True)


def test_alert_from_memory_goes_to_the_issue_that_exists(jira_channel, notify):
    """The answer of the first was lost with the state file."""
    fake, _, channel = jira_channel
    first = channel.deliver(notify("n1", fingerprint="f" * 32)).remote
    again = notify("n2", fingerprint="f" * 32, details={UNRECORDED: "not recorded"})
    assert channel.deliver(again).remote == first
    assert len(fake.issues) == 1
