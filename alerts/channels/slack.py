"""Channel to Slack by bot token or incoming webhook.

The retries of slack_sdk post twice, so they are disabled.
"""

import http.client
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Self, TypeVar

import structlog
from pydantic import Field, model_validator

from alerts.alert import Message, Notification, Reason, Receipt
from alerts.channels.bounds import bounded_tls
from alerts.channels.channel import (
    AcknowledgeCallback,
    ChannelOptions,
    DeliveryError,
    Failure,
    Sender,
    Traits,
    reveal_secret,
)
from alerts.channels.http import is_private
from alerts.channels.slack_blocks import CALLED, blocks, called, summary
from alerts.channels.slack_buttons import Line, listen
from domain.finding import Severity
from domain.secret import Secret

TIMEOUT_SECONDS, TOTAL_SECONDS = 10, 60.0
LONGEST_ANSWER = 8 * 1024**2
"""A page of 200 messages is read whole by slack_sdk."""
LOOK_BACK = timedelta(minutes=1)
SECOND_COPY = "possibly a second copy: Slack did not answer the first"
_PERMANENT = frozenset(
    {"invalid_blocks", "msg_blocks_too_long", "msg_too_long", "no_text", "invalid_payload"}
)
_CHANNEL = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "channel_not_found",
        "is_archived",
        "not_in_channel",
        "no_permission",
        "missing_scope",
        # those of an incoming webhook
        "no_service",
        "no_service_id",
        "no_team",
        "no_active_hooks",
        "team_disabled",
        "invalid_token",
        "action_prohibited",
        "posting_to_general_channel_denied",
        "channel_is_archived",
    }
)
_NO_THREAD = frozenset({"thread_not_found", "message_not_found"})
_THROTTLED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})

T = TypeVar("T")

_log = structlog.get_logger("slack")


class Options(ChannelOptions):
    """A bot token (`chat:write`) and a channel, or an incoming webhook URL without threads."""

    type: Literal["slack"]
    token: Secret | None = Field(None, examples=['{ credential = "slack-token" }'])
    channel: str = Field(
        "",
        description="Better its id (C…): with channels:history a message is never posted twice.",
        examples=['"#operaciones"'],
    )
    url: Secret | None = Field(
        None, description="An incoming webhook, instead of token and channel."
    )
    mention: str = Field(
        "",
        description="Mentioned in critical messages: a user id (U…), a group id (S…), here or "
        "channel.",
    )
    mentions: dict[Severity, str] = Field(
        default_factory=dict, description="The same for each severity."
    )
    app_token: Secret | None = Field(
        None, description="xapp-…, for the Acknowledge button (Socket Mode)."
    )
    api_url: str = Field("https://slack.com/api/", description="Only for tests and proxies.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.token is None) or bool(self.channel) != (
            self.token is not None
        ):
            message = "give token and channel, or the URL of an incoming webhook"
            raise ValueError(message)
        if self.app_token is not None and self.token is None:
            message = "app_token needs token and channel"
            raise ValueError(message)
        return self

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(
            groups=True,
            edits=self.url is None,
            wants_acknowledgements=self.url is None,
            interval_seconds=1.0,
        )


class Slack:
    """Posts the first message of an alert, updates it, and answers in its thread."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self.options = options
        self.traits = options.traits
        self._place = options.channel if options.channel[:1] in {"C", "G", "D"} else ""

    def deliver(self, notification: Notification) -> Receipt:
        """Post the message; the remote id is channel and timestamp (none by webhook).

        First messages are edited before: an edit may be repeated, a post may not.
        """
        if self.options.url is not None:
            return _asked(lambda: self._by_webhook(notification, self.options.url))
        client = self._client()
        doubt = ""
        quiet = _edits_only(notification)
        if notification.again and not quiet:
            found = _asked(lambda: self._posted(client, notification))
            if found:
                return Receipt("already posted", remote=found)
            if found is None:
                doubt = SECOND_COPY
        for remote, root in notification.edits_to_make:
            _asked(lambda remote=remote, root=root: self._edit(client, remote, root))  # type: ignore[misc]
        if quiet:
            return Receipt("updated", remote=notification.thread)
        try:
            answer = _asked(
                lambda: client.chat_postMessage(**payload(notification, self.options, doubt))
            )
        except DeliveryError as error:
            if str(error) not in _NO_THREAD or not notification.thread:
                raise
            # it was deleted
            begun = self.deliver(replace(notification, thread="", edits_to_make=()))
            return replace(begun, replaced=True)
        self._place = str(answer.get("channel", ""))
        stamp = str(answer.get("ts", ""))
        return Receipt(f"in {self.options.channel} as {stamp}", remote=f"{self._place}:{stamp}")

    def listen(self, taken: AcknowledgeCallback) -> Callable[[], None] | None:
        """Listen for the Acknowledge button if an app token is configured."""
        options = self.options
        if options.app_token is None:
            return None
        line = Line(
            lambda: (reveal_secret(options.token), reveal_secret(options.app_token)),
            options.api_url,
        )
        return listen(line, taken)

    def _posted(self, client: Any, notification: Notification) -> str | None:  # noqa: ANN401 - slack_sdk's, not imported at start-up
        """Return the timestamp of an earlier copy, empty if there is none, None if unknown."""
        place, _, thread = notification.thread.rpartition(":")
        place = place or self._place
        if not place:
            return None
        since = (notification.created_at - LOOK_BACK).timestamp()
        asked = {
            "channel": place,
            "oldest": f"{since:.6f}",
            "limit": 200,
            "include_all_metadata": True,
        }
        from slack_sdk.errors import SlackApiError

        ask = (
            partial(client.conversations_replies, ts=thread)
            if thread
            else client.conversations_history
        )
        try:
            answer = ask(**asked)
        except SlackApiError as error:
            if _word(error) in {
                "missing_scope",
                "not_in_channel",
                "channel_not_found",
                "thread_not_found",
            }:
                return None
            raise
        for one in answer.get("messages", ()):
            if one.get("metadata", {}).get("event_payload", {}).get("id") == notification.id:
                return f"{place}:{one['ts']}"
        return ""

    def _edit(self, client: Any, remote: str, root: Message) -> None:  # noqa: ANN401 - slack_sdk's, not imported at start-up
        """Update a first message; one that is gone or too old to edit is left."""
        from slack_sdk.errors import SlackApiError

        place, _, stamp = remote.rpartition(":")
        try:
            content = _content(root, "", button=self.options.app_token is not None)
            client.chat_update(
                channel=place or self._place or self.options.channel, ts=stamp, **content
            )
        except SlackApiError as error:
            word = _word(error)
            if not word or word in _THROTTLED or error.response.status_code >= 500:  # noqa: PLR2004 - RFC 9110, 15.6
                raise
            _log.warning("slack.not_edited", message=remote, reason=word)

    def _by_webhook(self, notification: Notification, secret: Secret | None) -> Receipt:
        """Send by webhook: no metadata, no threads, each message on its own."""
        from slack_sdk.webhook import WebhookClient

        url = reveal_secret(secret)
        if not is_private(url):
            raise DeliveryError(Failure.PERMANENT, "the URL of the webhook is not https")
        post = _content(
            notification.message, _mention(notification.message, self.options), button=False
        )
        client = WebhookClient(
            url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[],
            ssl=bounded_tls(LONGEST_ANSWER, TOTAL_SECONDS),
        )
        answer = client.send_dict({**post, "unfurl_links": False, "unfurl_media": False})
        if answer.status_code == 200 and answer.body == "ok":  # noqa: PLR2004 - Slack's whole answer
            return Receipt("by webhook")
        raise _refused(answer.status_code, answer.body, answer.headers)

    def _client(self) -> Any:  # noqa: ANN401 - slack_sdk's, not imported at start-up
        from slack_sdk import WebClient

        token = reveal_secret(self.options.token)
        return WebClient(
            token=token,
            base_url=self.options.api_url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[],
            ssl=bounded_tls(LONGEST_ANSWER, TOTAL_SECONDS),
        )


def payload(notification: Notification, options: Options, note: str = "") -> dict[str, Any]:
    """Return the arguments of chat.postMessage."""
    message = notification.message
    arguments: dict[str, Any] = {
        "channel": options.channel,
        **_content(
            message, _mention(message, options), button=options.app_token is not None, note=note
        ),
        "unfurl_links": False,
        "unfurl_media": False,
        "link_names": False,
        "parse": "none",
        "metadata": {"event_type": "sereno_alert", "event_payload": {"id": notification.id}},
    }
    if notification.thread:
        place, _, arguments["thread_ts"] = notification.thread.rpartition(":")
        arguments["channel"] = place or options.channel  # the thread stays in its channel
        arguments["reply_broadcast"] = message.reason in CALLED
    return arguments


def _mention(message: Message, options: Options) -> str:
    chosen = {Severity.CRITICAL: options.mention, **options.mentions}
    if message.reason in CALLED:
        return called(chosen.get(message.severity, ""))
    return ""


def _content(message: Message, mention: str, *, button: bool, note: str = "") -> dict[str, Any]:
    text = summary(message)
    shown = blocks(message, mention=mention, button=button, note=note)
    return {"text": f"{mention} {text}" if mention else text, "blocks": shown}


def _asked(ask: Callable[[], T]) -> T:
    """Call Slack. Raises DeliveryError, classified."""
    from slack_sdk.errors import SlackApiError, SlackClientError

    # it logs errors itself, at DEBUG the token
    logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)
    try:
        return ask()
    except SlackApiError as error:
        word = _word(error)
        raise _refused(error.response.status_code, word, error.response.headers) from None
    except SlackClientError as error:
        raise DeliveryError(Failure.TRANSIENT, type(error).__name__) from None
    except (TimeoutError, http.client.HTTPException):
        raise DeliveryError(Failure.AMBIGUOUS, "no complete answer in time") from None
    except ConnectionRefusedError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error)) from None
    except OSError as error:
        refused = "refused" in str(error) or "unknown answer" in str(error)
        failure = Failure.TRANSIENT if refused else Failure.AMBIGUOUS
        raise DeliveryError(failure, str(error) or type(error).__name__) from None


def _word(error: Exception) -> str:
    """Return Slack's error code; empty if the error is not Slack's."""
    data = getattr(getattr(error, "response", None), "data", None)
    if isinstance(data, dict):
        return str(data.get("error", ""))
    return ""


def _refused(status: int, error: str, headers: Mapping[str, str]) -> DeliveryError:
    """Classify Slack's error code; HTTP 200 may be an error too."""
    if status == 429 or error in _THROTTLED:  # noqa: PLR2004 - RFC 6585, 4
        after = headers.get("Retry-After") or headers.get("retry-after")
        return DeliveryError(
            Failure.THROTTLED, error or "429", float(after) if after and after.isdecimal() else None
        )
    return DeliveryError(_failure(status, error), error or f"HTTP {status}")


def _failure(status: int, error: str) -> Failure:
    if error in _PERMANENT:
        return Failure.PERMANENT
    if error in _CHANNEL or status in {401, 403}:
        return Failure.CHANNEL
    if status in {500, 502, 504}:  # the message may have been accepted behind the proxy
        return Failure.AMBIGUOUS
    return Failure.TRANSIENT


def _edits_only(notification: Notification) -> bool:
    """Return whether earlier messages are edited and nothing new is posted."""
    message = notification.message
    if message.reason is not Reason.CHANGED or not notification.edits_to_make:
        return False
    return not any(one.over for one in message.lines)
