"""Channel to Jira: one issue per alert, commented, resolved and reopened."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from alerts.alert import OPENING, UNRECORDED, Message, Notification, Reason, Receipt
from alerts.channels.channel import DeliveryError, Failure, Sender, Traits, reveal_secret
from alerts.channels.http import HttpOptions, Request, send
from domain.finding import Severity
from domain.secret import Secret

LONGEST_SUMMARY = 250
GONE = 404
_MARKUP = re.compile(r"([\\\[\]{}!|*_^+~@])")


class Options(HttpOptions):
    """A Jira project, cloud or self-hosted (REST API v2)."""

    type: Literal["jira"]
    url: str = Field(
        description="The address of Jira.", examples=['"https://example.atlassian.net"']
    )
    user: str = Field(
        "", description="If set, the token is sent as Basic authentication, else as Bearer."
    )
    token: Secret = Field(examples=['{ credential = "jira-token" }'])
    project: str = Field(examples=['"OPS"'])
    issue_type: str = "Task"
    resolve: str = Field("Done", description="The transition that resolves an issue.")
    reopen: str = Field("To Do", description="The transition that reopens an issue.")
    priorities: dict[Severity, str] = Field(
        default_factory=dict, description="A priority for each severity."
    )
    fields: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of a new issue."
    )

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(wants_acknowledgements=True)


class Jira:
    """Creates an issue and comments on it."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options
        self.traits = options.traits

    def deliver(self, notification: Notification) -> Receipt:
        """Create, comment, resolve or reopen the issue.

        A resolved alert without an issue gets none.
        """
        message = notification.message
        key = notification.thread or self._made_before(notification)
        if not key:
            if message.over:
                return Receipt("resolved before it had an issue; none was created")
            key = self._make(notification)
            if message.reason is Reason.CHANNEL_TEST:
                self._move(key, self._options.resolve)
            return Receipt(f"issue {key}", remote=key)
        try:
            # repeating it is harmless; the comment, which is not, comes last
            if message.over or message.reason in OPENING:
                self._move(key, self._options.resolve if message.over else self._options.reopen)
            self._ask(
                "POST", f"issue/{quote(key)}/comment", {"body": "\n".join(_lines(notification))}
            )
        except DeliveryError as error:
            if error.status != GONE:
                raise
            made = self.deliver(replace(notification, thread=""))  # the issue was deleted
            return replace(made, replaced=True)
        return Receipt(f"issue {key}", remote=key)

    def _make(self, notification: Notification) -> str:
        message, options = notification.message, self._options
        fields: dict[str, Any] = {
            "project": {"key": options.project},
            "issuetype": {"name": options.issue_type},
            "summary": f"sereno {message.instance}: {message.title}"[:LONGEST_SUMMARY],
            "description": "\n".join(_lines(notification)),
            "labels": [
                "sereno",
                f"sereno-{message.fingerprint or 'channel-test'}",
                f"sereno-{notification.id}",
            ],
            **options.fields,
        }
        if message.severity in options.priorities:
            fields["priority"] = {"name": options.priorities[message.severity]}
        made = self._ask("POST", "issue", {"fields": fields})
        key = str(made.get("key", ""))
        if not key:
            raise DeliveryError(Failure.AMBIGUOUS, "Jira's answer has no key")
        return key

    def _made_before(self, notification: Notification) -> str:
        """Return an issue that exists already; empty if there is none.

        That of an earlier copy whose answer was lost, found by its unique label; or that of the
        same alert, if it was sent while nothing could be recorded.
        """
        unrecorded = UNRECORDED in notification.message.details
        if not (notification.again or unrecorded):
            return ""
        label = notification.message.fingerprint if unrecorded else notification.id
        asked = urlencode({"jql": f'labels = "sereno-{label}"', "fields": "key", "maxResults": 1})
        try:
            found = self._ask("GET", f"search/jql?{asked}")
        except DeliveryError as error:
            if error.status != GONE:  # Jira Data Center has only the older API
                raise
            found = self._ask("GET", f"search?{asked}")
        return next((str(issue["key"]) for issue in found.get("issues", ())), "")

    def _move(self, key: str, name: str) -> None:
        """Perform a transition by name; an issue without that transition is left as it is."""
        found = self._ask("GET", f"issue/{quote(key)}/transitions").get("transitions", ())
        wanted = name.casefold()
        for one in found:
            if wanted in {
                str(one.get("name", "")).casefold(),
                str(one.get("to", {}).get("name", "")).casefold(),
            }:
                self._ask(
                    "POST", f"issue/{quote(key)}/transitions", {"transition": {"id": one["id"]}}
                )
                return

    def _ask(self, method: str, path: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        body = (
            b""
            if request is None
            else json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
        )
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Authorization": self._who(),
        }
        url = f"{self._options.url.rstrip('/')}/rest/api/2/{path}"
        answer = send(Request(url, body, headers, method, self._options.ca_file))
        try:
            read = json.loads(answer.content or b"{}")
        except ValueError:
            raise DeliveryError(Failure.AMBIGUOUS, "Jira's answer is not JSON") from None
        if isinstance(read, dict):
            return read
        return {}

    def _who(self) -> str:
        token = reveal_secret(self._options.token)
        if not self._options.user:
            return f"Bearer {token}"
        return "Basic " + base64.b64encode(f"{self._options.user}:{token}".encode()).decode("ascii")


def escape(text: str) -> str:
    """Escape markup: `[~name]` would notify somebody."""
    return _MARKUP.sub(r"\\\1", text)


def _lines(notification: Notification) -> Iterator[str]:
    message: Message = notification.message
    said = message.said
    state = said("resolved").upper()
    if not message.over:
        state = f"{said(message.severity.value).upper()} ({said(message.reason.value)})"
    yield f"{state}: {escape(message.summary)}"
    rows = {
        "database": message.database,
        "object": message.object,
        "acknowledged by": message.acknowledged_by,
        "remedy": "" if message.over else message.remedy,
        **message.details,
        "acknowledge": ""
        if message.over or message.alert is None
        else f"sereno alerts ack {message.alert}",
        "message": notification.id,
    }
    yield from (f"{escape(said(name))}: {escape(value)}" for name, value in rows.items() if value)
