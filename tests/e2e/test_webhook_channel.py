"""The webhook channel against a real HTTP server: request, signature, templates, failures."""

import json
import re

import pytest

from alerts.alert import Reason
from alerts.channels import webhook
from alerts.channels.channel import DeliveryError, Failure, Sender
from alerts.channels.http import LONGEST_ANSWER
from domain.finding import Severity
from domain.secret import Secret
from tests.fixtures.notifications import respond_with
from tests.fixtures.secrets import write_secret

HOSTILE = 'public."<!channel> [~admin] {code} & <b>x</b> \'; x"'


def webhook_channel(server, **options):
    options = webhook.Options(type="webhook", url=server.url, **options)
    return webhook.Webhook(options, Sender("coop"))


@pytest.mark.parametrize(
    ("answer", "failure", "after"),
    [
        (respond_with(429, Retry_After="7"), Failure.THROTTLED, 7.0),
        (respond_with(503), Failure.THROTTLED, None),
        (respond_with(500), Failure.AMBIGUOUS, None),
        (respond_with(504), Failure.AMBIGUOUS, None),
        (respond_with(408), Failure.TRANSIENT, None),
        (respond_with(404), Failure.PERMANENT, None),
        *((respond_with(code), Failure.CHANNEL, None) for code in (401, 402, 403, 407, 409)),
        (respond_with(302, Location="http://127.0.0.1:1/"), Failure.PERMANENT, None),
        (lambda *_: None, Failure.AMBIGUOUS, None),
    ],
)
def test_webhook_failure_is_classified_by_response(endpoint, notify, answer, failure, after):
    options = webhook.Options(type="webhook", url=endpoint(answer).url)
    channel = webhook.Webhook(options, Sender("coop ñ 漢"))
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notify())
    assert (caught.value.failure, caught.value.retry_after_seconds) == (failure, after)


def test_webhook_request_is_signed_and_returns_the_ticket_key(endpoint, notify, tmp_path):
    write_secret(tmp_path / "secret", "whsec_c2VyZW5v")
    server = endpoint()
    options = webhook.Options(
        type="webhook", url=server.url + "/api?x=1", secret=Secret(file=tmp_path / "secret")
    )
    assert webhook.Webhook(options, Sender("coop")).deliver(notify()).remote == "T-1"
    (request,) = server.requests
    headers = request["headers"]
    signature = webhook.sign(
        "whsec_c2VyZW5v", "n0123", int(headers["webhook-timestamp"]), request["body"]
    )
    assert (headers["webhook-id"], headers["idempotency-key"], headers["webhook-signature"]) == (
        "n0123",
        "n0123",
        signature,
    )
    assert request["path"] == "/api?x=1"


def test_webhook_sign_rejects_a_secret_that_is_not_base64():
    with pytest.raises(DeliveryError, match="the text after whsec_ is not base64"):
        webhook.sign("whsec_x", "n1", 1, b"{}")


def test_webhook_body_template_key_path_and_update_url(endpoint, notify):
    server = endpoint((201, {}, b'{"result": {"number": "INC7"}, "id": 3}'))
    body = (
        '{"short_description": {{ message | tojson }}, "state": "{{ state }}",'
        ' "urgency": {{ 1 if severity == "CRITICAL" else 2 }}}'
    )
    channel = webhook_channel(
        server,
        body=body,
        key="result.number",
        update_url=server.url + "/table/{ticket}",
        update_method="PUT",
    )
    first = channel.deliver(notify(title=HOSTILE))
    assert first.remote == "INC7"
    assert json.loads(server.requests[0]["body"])["short_description"].startswith(HOSTILE)
    channel.deliver(notify("n2", thread="INC 7/x", reason=Reason.RESOLVED))
    assert (server.requests[1]["path"], server.requests[1]["method"]) == (
        "/table/INC%207%2Fx",
        "PUT",
    )
    assert json.loads(server.requests[1]["body"])["state"] == "resolved"


def test_webhook_template_that_renders_invalid_json_is_rejected(endpoint, notify):
    with pytest.raises(ValueError, match=r"use \| tojson"):
        webhook_channel(endpoint(), body='{"text": "{{ message }}"}')
    server = endpoint()
    channel = webhook_channel(
        server, body='{"text": {{ message | tojson }}{{ "" if severity == "HIGH" else "," }}}'
    )
    with pytest.raises(DeliveryError, match="tojson") as caught:  # no sample is critical
        channel.deliver(notify(severity=Severity.CRITICAL))
    assert caught.value.failure is Failure.PERMANENT
    assert server.requests == []


def test_webhook_template_is_rendered_with_samples_at_load(endpoint):
    for key in ('"first seen"', '"rows"'):
        webhook_channel(endpoint(), body=f'{{"text": {{{{ details[{key}] | tojson }}}}}}')
    with pytest.raises(ValueError, match="by zero"):
        webhook_channel(endpoint(), body="{{ 1 // 0 }}")
    with pytest.raises(
        ValueError,
        match="body: 'summary' is unknown \\(known: acknowledgedBy, actionRequired, alert",
    ):
        webhook_channel(endpoint(), body='{"text": {{ summary | tojson }}}')


@pytest.mark.parametrize("body", ["{{ message", "{% for x in y %}", "{{ message.__class__ }}"])
def test_webhook_template_syntax_errors_and_sandbox_escapes_are_rejected(endpoint, notify, body):
    expected = "body is not a template|body does not render to JSON"
    try:
        channel = webhook_channel(endpoint(), body=body)
    except ValueError as error:
        assert re.search(expected, str(error))  # noqa: PT017 - or the delivery fails
    else:
        with pytest.raises(DeliveryError):
            channel.deliver(notify())


def test_webhook_acknowledgement_has_type_state_and_ticket(endpoint, notify):
    server = endpoint()
    webhook_channel(server).deliver(notify(reason=Reason.ACKNOWLEDGED, thread="T-1"))
    body = json.loads(server.requests[0]["body"])
    assert (body["type"], body["data"]["state"], body["data"]["ticket"]) == (
        "alert.acknowledged",
        "acknowledged",
        "T-1",
    )


def test_webhook_body_is_limited_to_20_kilobytes(endpoint, notify):
    server = endpoint()
    webhook_channel(server).deliver(
        notify(details={f"name {number}": "ü" * 1500 for number in range(20)})
    )
    assert len(server.requests[0]["body"]) < 20_000


def test_webhook_recreates_a_ticket_after_404_on_update(endpoint, notify):
    created = (201, {}, b'{"key": "T-2"}')
    server = endpoint(lambda _, request: (404, {}, b"") if "/old" in request["path"] else created)
    receipt = webhook_channel(server, update_url=server.url + "/{ticket}").deliver(
        notify(thread="old")
    )
    assert (receipt.remote, receipt.replaced) == ("T-2", True)


@pytest.mark.parametrize(
    ("options", "error"),
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
def test_webhook_url_without_tls_or_with_password_is_rejected(options, error):
    if error:
        with pytest.raises(ValueError, match=error):
            webhook.Options(type="webhook", **options)
    else:
        webhook.Options(type="webhook", **options)


@pytest.mark.parametrize(
    ("address", "refused"),
    [("169.254.169.254", True), ("fe80::1%eth0", True), ("10.0.0.7", False), ("::1", False)],
)
def test_link_local_address_is_refused(address, refused):
    from alerts.channels.http import _refuse_link_local

    if refused:
        with pytest.raises(DeliveryError, match="link-local"):
            _refuse_link_local(address)
    else:
        _refuse_link_local(address)


@pytest.mark.parametrize(("length", "key"), [(70_000, "INC001"), (2 * LONGEST_ANSWER, "")])
def test_ticket_key_is_found_in_a_long_answer(endpoint, notify, length, key):
    content = json.dumps({"result": {"description": "x" * length, "number": "INC001"}}).encode()
    receiver = endpoint((201, {}, content))
    channel = webhook_channel(receiver, key="result.number", update_url=receiver.url + "/{ticket}")
    receipt = channel.deliver(notify())
    assert receipt.remote == key
    assert ("the ticket's key is unknown" in receipt.words) == (not key)
