"""Tickets: made once, spoken in, resolved and reopened; by a stand-in of Jira, PagerDuty's events, and a webhook."""

import json
import re
from urllib.parse import parse_qs

import pytest

from alerts.alert import Reason
from alerts.channels import jira, pagerduty, webhook
from alerts.channels.channel import DeliveryError, Failure, Sender
from domain.finding import Severity
from domain.secret import Secret

HOSTILE = 'public."<!channel> [~admin] {code} & <b>x</b> \'; x"'


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret").write_text("canary-token")
    return Secret(file=tmp_path / "secret")


class Jira:
    """As much of Jira as there is to a ticket's life: issues, comments, transitions, a search by label."""

    def __init__(self):
        self.issues, self.drop, self.cloud = {}, 0, True

    def __call__(self, _number, request):
        path, _, query = request["path"].partition("?")
        body = json.loads(request["body"] or b"{}")
        path = path.removeprefix("/rest/api/2/")
        if path.startswith("search"):
            return self._search(path, parse_qs(query)["jql"][0])
        return self._make(body) if path == "issue" else self._change(path, body)

    def _make(self, body):
        key = f"OPS-{len(self.issues) + 1}"
        self.issues[key] = {"fields": body["fields"], "comments": [], "state": "To Do"}
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

    def _change(self, path, body):
        key, _, what = path.removeprefix("issue/").partition("/")
        if key not in self.issues:
            return 404, {}, b'{"errorMessages":["Issue does not exist"]}'
        if what == "comment":
            self.issues[key]["comments"].append(body["body"])
        elif body:
            self.issues[key]["state"] = {"11": "To Do", "31": "Done"}[body["transition"]["id"]]
        else:
            moves = [
                {"id": "11", "name": "Reopen", "to": {"name": "To Do"}},
                {"id": "31", "name": "Done"},
            ]
            return 200, {}, json.dumps({"transitions": moves}).encode()
        return 201, {}, b"{}"


@pytest.fixture
def board(endpoint, secret):
    system = Jira()
    place = endpoint(system)
    options = jira.Options(
        type="jira",
        url=place.url,
        user="bot@example.org",
        token=secret,
        project="OPS",
        priorities={"high": "High"},
    )
    return system, place, jira.Jira(options, Sender("coop"))


def test_an_issue_from_its_beginning_to_its_end_and_back(board, notify):
    system, _, channel = board
    key = channel.deliver(notify(fingerprint="f" * 32)).remote
    fields = system.issues[key]["fields"]
    assert (fields["project"], fields["priority"]) == ({"key": "OPS"}, {"name": "High"})
    assert f"sereno-{'f' * 32}" in fields["labels"]
    channel.deliver(notify("n2", thread=key, reason=Reason.RAISED, severity=Severity.CRITICAL))
    channel.deliver(notify("n3", thread=key, reason=Reason.RESOLVED))
    assert system.issues[key]["state"] == "Done"
    assert channel.deliver(notify("n4", thread=key, reason=Reason.REOPENED)).remote == key
    assert system.issues[key]["state"] == "To Do"
    assert [comment.partition(":")[0] for comment in system.issues[key]["comments"]] == [
        "CRITICAL (severity\\_raised)".replace("\\", ""),
        "RESOLVED",
        "HIGH (reopened)",
    ]


@pytest.mark.parametrize("cloud", [True, False])
def test_an_issue_whose_answer_was_lost_is_not_made_twice(board, notify, cloud):
    system, _, channel = board
    system.drop, system.cloud = 1, cloud
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert caught.value.failure is Failure.AMBIGUOUS
    assert channel.deliver(notify(again=True)).remote == "OPS-1"
    assert len(system.issues) == 1


def test_what_is_over_before_it_had_an_issue_gets_none(board, notify):
    system, _, channel = board
    assert "none was created" in channel.deliver(notify(reason=Reason.RESOLVED)).words
    assert system.issues == {}


def test_a_drill_leaves_no_open_issue(board, notify):
    system, _, channel = board
    channel.deliver(notify(reason=Reason.CHANNEL_TEST))
    assert system.issues["OPS-1"]["state"] == "Done"


def test_a_hostile_name_calls_nobody_in_jira(board, notify):
    system, place, channel = board
    channel.deliver(
        notify(title=HOSTILE, summary=HOSTILE, object=HOSTILE, details={HOSTILE: HOSTILE})
    )
    description = system.issues["OPS-1"]["fields"]["description"]
    assert "[~" not in description.replace("\\[", "")
    assert "{code}" not in description.replace("\\{", "")
    assert place.requests[0]["headers"]["authorization"].startswith("Basic ")


def test_what_jira_refuses_is_said_without_the_token(endpoint, secret, notify):
    place = endpoint((400, {}, b'{"errors":{"project":"project is required, canary-token"}}'))
    channel = jira.Jira(
        jira.Options(type="jira", url=place.url, token=secret, project="X"), Sender("c")
    )
    with pytest.raises(DeliveryError, match="project is required") as caught:
        channel.deliver(notify())
    assert caught.value.failure is Failure.PERMANENT
    assert place.requests[0]["headers"]["authorization"] == "Bearer canary-token"


def test_an_incident_of_pagerduty(endpoint, secret, notify):
    place = endpoint((202, {}, b'{"status":"success"}'))
    channel = pagerduty.PagerDuty(
        pagerduty.Options(type="pagerduty", url=place.url, routing_key=secret), Sender("coop")
    )
    for reason in (
        Reason.OPENED,
        Reason.ACKNOWLEDGED,
        Reason.REPEATED,
        Reason.RESOLVED,
        Reason.CHANNEL_TEST,
    ):
        channel.deliver(
            notify(
                reason=reason, fingerprint="f" * 32, summary="x" * 2000, severity=Severity.CRITICAL
            )
        )
    said = [json.loads(request["body"]) for request in place.requests]
    assert [one["event_action"] for one in said] == [
        "trigger",
        "acknowledge",
        "trigger",
        "resolve",
        "trigger",
        "resolve",
    ]
    assert {one["dedup_key"] for one in said} == {"f" * 32}
    assert said[0]["routing_key"] == "canary-token"
    assert (said[0]["payload"]["severity"], len(said[0]["payload"]["summary"])) == (
        "critical",
        1024,
    )


@pytest.mark.parametrize(("status", "failure"), [(400, Failure.PERMANENT), (429, Failure.THROTTLED), (500, Failure.AMBIGUOUS)])  # fmt: skip
def test_what_pagerduty_may_answer(endpoint, secret, notify, status, failure):
    place = endpoint((status, {}, b'{"message":"canary-token is invalid"}'))
    channel = pagerduty.PagerDuty(
        pagerduty.Options(type="pagerduty", url=place.url, routing_key=secret), Sender("c")
    )
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert caught.value.failure is failure
    assert "canary" not in str(caught.value)


def hook(place, **options):
    return webhook.Webhook(
        webhook.Options(type="webhook", url=place.url, **options), Sender("coop")
    )


def test_a_body_of_ones_own_and_the_key_where_it_is_said_to_be(endpoint, notify):
    place = endpoint((201, {}, b'{"result": {"number": "INC7"}, "id": 3}'))
    body = '{"short_description": {{ message | tojson }}, "state": "{{ state }}", "urgency": {{ 1 if severity == "CRITICAL" else 2 }}}'
    channel = hook(
        place,
        body=body,
        key="result.number",
        update_url=place.url + "/table/{ticket}",
        update_method="PUT",
    )
    first = channel.deliver(notify(title=HOSTILE))
    assert first.remote == "INC7"
    assert json.loads(place.requests[0]["body"])["short_description"].startswith(HOSTILE)
    channel.deliver(notify("n2", thread="INC 7/x", reason=Reason.RESOLVED))
    assert (place.requests[1]["path"], place.requests[1]["method"]) == ("/table/INC%207%2Fx", "PUT")
    assert json.loads(place.requests[1]["body"])["state"] == "resolved"


def test_a_template_that_a_name_could_break_is_refused(endpoint, notify):
    with pytest.raises(ValueError, match=r"use \| tojson"):
        hook(endpoint(), body='{"text": "{{ message }}"}')
    place = endpoint()
    channel = hook(
        place, body='{"text": {{ message | tojson }}{{ "" if severity == "HIGH" else "," }}}'
    )
    with pytest.raises(DeliveryError, match="tojson") as caught:  # what no sample shows
        channel.deliver(notify(severity=Severity.CRITICAL))
    assert caught.value.failure is Failure.PERMANENT
    assert place.requests == []


def test_a_template_is_tried_when_it_is_read(endpoint):
    for known in ('"first seen"', '"rows"'):
        hook(endpoint(), body=f'{{"text": {{{{ details[{known}] | tojson }}}}}}')
    with pytest.raises(ValueError, match="by zero"):
        hook(endpoint(), body="{{ 1 // 0 }}")
    with pytest.raises(
        ValueError, match="body: 'summary' is unknown \\(known: actionRequired, alert"
    ):
        hook(endpoint(), body='{"text": {{ summary | tojson }}}')


def test_a_secret_that_is_no_base64_says_so():
    with pytest.raises(DeliveryError, match="the text after whsec_ is not base64"):
        webhook.sign("whsec_x", "n1", 1, b"{}")


@pytest.mark.parametrize("body", ["{{ message", "{% for x in y %}", "{{ message.__class__ }}"])
def test_a_template_is_read_before_the_night_and_has_no_way_out(endpoint, notify, body):
    try:
        channel = hook(endpoint(), body=body)
    except ValueError as error:
        assert re.search("body is not a template|body does not render to JSON", str(error))  # noqa: PT017 - either is right
    else:
        with pytest.raises(DeliveryError):
            channel.deliver(notify())


def test_a_ticket_that_is_acknowledged_says_so(endpoint, notify):
    place = endpoint()
    hook(place).deliver(notify(reason=Reason.ACKNOWLEDGED, thread="T-1"))
    said = json.loads(place.requests[0]["body"])
    assert (said["type"], said["data"]["state"], said["data"]["ticket"]) == (
        "alert.acknowledged",
        "acknowledged",
        "T-1",
    )


def test_a_body_is_not_longer_than_the_standard_advises(endpoint, notify):
    place = endpoint()
    hook(place).deliver(notify(details={f"name {number}": "ü" * 1500 for number in range(20)}))
    assert len(place.requests[0]["body"]) < 20_000


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"url": "http://tickets.example.org"}, "unencrypted"),
        ({"url": "http://tickets.example.org", "plain_http": True}, ""),
        (
            {"url": "https://x.example.org", "update_url": "http://y.example.org/{ticket}"},
            "unencrypted",
        ),
        ({"url": "https://u:p@x.example.org"}, "password"),
    ],
)
def test_what_is_sent_unencrypted_is_said_to_be(options, word):
    if word:
        with pytest.raises(ValueError, match=word):
            webhook.Options(type="webhook", **options)
    else:
        webhook.Options(type="webhook", **options)


@pytest.mark.parametrize(("address", "refused"), [("169.254.169.254", True), ("fe80::1%eth0", True), ("10.0.0.7", False), ("::1", False)])  # fmt: skip
def test_a_link_local_address_is_not_spoken_to(address, refused):
    from alerts.channels.http import _refuse_link_local

    if refused:
        with pytest.raises(DeliveryError, match="link-local"):
            _refuse_link_local(address)
    else:
        _refuse_link_local(address)


def test_a_ticket_that_was_deleted_is_made_anew(endpoint, notify):
    place = endpoint(lambda _number, request: (404, {}, b"") if "/old" in request["path"] else (201, {}, b'{"key": "T-2"}'))  # fmt: skip
    receipt = hook(place, update_url=place.url + "/{ticket}").deliver(notify(thread="old"))
    assert (receipt.remote, receipt.replaced) == ("T-2", True)


def test_an_issue_that_was_deleted_is_made_anew(board, notify):
    _, _, channel = board
    receipt = channel.deliver(notify(thread="OPS-99", reason=Reason.RAISED))
    assert (receipt.remote, receipt.replaced) == ("OPS-1", True)
