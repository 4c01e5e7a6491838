"""Slack by bot token. The only module that knows slack_sdk, whose own retries post twice after a dropped answer."""

import logging
from typing import Any, Literal

from pydantic import Field

from alerts.alert import Message, Notification, Reason
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender
from alerts.secret import Secret, SecretError
from checks.finding import Severity

TIMEOUT_SECONDS = 10
LONGEST_SECTION = 2900
LONGEST_FIELD = 1900
MOST_FIELDS = 10
_MARKS = {Severity.INFO: "🔵", Severity.WARNING: "🟡", Severity.HIGH: "🟠", Severity.CRITICAL: "🔴"}
_PERMANENT = frozenset(
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
        "invalid_blocks",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
    }
)


class Options(ChannelOptions):
    """A bot token (`chat:write`) and a channel."""

    type: Literal["slack"]
    token: Secret
    channel: str
    mention: str = Field(
        "", description="who is called for critical ones: a user id (U…), a group id (S…), here or channel"
    )
    api_url: str = Field("https://slack.com/api/", description="only for tests and proxies")


class Slack:
    """Posts the first message of an alert, and answers in its thread from then on."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options

    def deliver(self, notification: Notification) -> str:
        """Post it; return its timestamp, which is its name in the channel."""
        from slack_sdk.errors import SlackApiError, SlackClientError

        client = self._client()
        try:
            answer = client.chat_postMessage(**payload(notification, self._options))
        except SlackApiError as error:
            raise _understand(error.response) from None
        except SlackClientError as error:
            raise DeliveryError(Failure.TRANSIENT, type(error).__name__) from None
        except TimeoutError:
            raise DeliveryError(Failure.AMBIGUOUS, "no answer in time") from None
        except ConnectionRefusedError as error:
            raise DeliveryError(Failure.TRANSIENT, str(error)) from None
        except OSError as error:
            refused = "refused" in str(error) or "not known" in str(error)
            failure = Failure.TRANSIENT if refused else Failure.AMBIGUOUS
            raise DeliveryError(failure, str(error) or type(error).__name__) from None
        return str(answer.get("ts", ""))

    def _client(self) -> Any:  # noqa: ANN401 - the type would import the library at start-up
        from slack_sdk import WebClient

        logging.getLogger("slack_sdk").setLevel(logging.WARNING)  # at DEBUG it logs the token
        try:
            token = self._options.token.reveal()
        except SecretError as error:
            raise DeliveryError(Failure.TRANSIENT, str(error)) from None
        return WebClient(token=token, base_url=self._options.api_url, timeout=TIMEOUT_SECONDS, retry_handlers=[])


def payload(notification: Notification, options: Options) -> dict[str, Any]:
    """Build the arguments of chat.postMessage, within Slack's limits, everything from outside escaped."""
    message = notification.message
    text = f"{_mark(message)} {escape(message.title)}: {escape(message.summary)}"
    blocks: list[dict[str, Any]] = [
        {
            "type": "section",
            "text": _markdown(f"{_mark(message)} *{escape(message.title)}*\n{escape(message.summary)}"),
        }
    ]
    if message.remedy and message.reason is not Reason.RESOLVED:
        blocks.append({"type": "section", "text": _markdown(f"*What to do*\n{escape(message.remedy)}")})
    fields = [_field(name, value) for name, value in message.details.items() if value][:MOST_FIELDS]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": _footer(message), "emoji": False}]})
    mention = _mention(message, options)
    if mention:
        blocks.insert(0, {"type": "section", "text": _markdown(mention)})
        text = f"{mention} {text}"
    arguments: dict[str, Any] = {
        "channel": options.channel,
        "text": text[:LONGEST_SECTION],
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
        "link_names": False,
        "parse": "none",
        "metadata": {"event_type": "sereno_alert", "event_payload": {"id": notification.id}},
    }
    if notification.thread:
        arguments["thread_ts"] = notification.thread
    return arguments


def escape(text: str) -> str:
    """Escape what Slack reads as control: a table named <!channel> pings nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mark(message: Message) -> str:
    if message.reason is Reason.RESOLVED:
        return "✅ resolved"
    return f"{_MARKS[message.severity]} {message.severity.value}"


def _mention(message: Message, options: Options) -> str:
    if not options.mention or message.severity is not Severity.CRITICAL or message.reason is Reason.RESOLVED:
        return ""
    if options.mention in {"here", "channel"}:
        return f"<!{options.mention}>"
    return (
        f"<!subteam^{escape(options.mention)}>" if options.mention.startswith("S") else f"<@{escape(options.mention)}>"
    )


def _markdown(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _cut(text, LONGEST_SECTION), "verbatim": True}


def _field(name: str, value: str) -> dict[str, Any]:
    return {
        "type": "mrkdwn",
        "text": _cut(f"*{escape(name)}*\n{escape(value)}", LONGEST_FIELD),
        "verbatim": True,
    }


def _cut(text: str, length: int) -> str:
    """Cut, but never inside an escape (`&am`)."""
    if len(text) <= length:
        return text
    kept = text[: length - 1]
    ampersand = kept.rfind("&", length - 7)
    if ampersand >= 0 and ";" not in kept[ampersand:]:
        kept = kept[:ampersand]
    return kept + "…"


def _footer(message: Message) -> str:
    told = f"{message.instance} · {message.reason.value} · {message.occurred_at:%Y-%m-%d %H:%M} UTC"
    return f"{told} · sereno alerts ack {message.alert}" if message.alert else told


def _understand(response: Any) -> DeliveryError:  # noqa: ANN401 - the type would import the library at start-up
    """Class an answer that is not ok: a 429 is throttling, with Slack's own Retry-After; HTTP 200 may be an error."""
    error = str(response.get("error", "")) if isinstance(response.data, dict) else ""
    if response.status_code == 429 or error in {"ratelimited", "rate_limited", "message_limit_exceeded"}:  # noqa: PLR2004
        after = response.headers.get("Retry-After") or response.headers.get("retry-after")
        return DeliveryError(Failure.THROTTLED, error or "429", float(after) if after else None)
    if error in _PERMANENT:
        return DeliveryError(Failure.PERMANENT, error)
    return DeliveryError(Failure.TRANSIENT, error or f"HTTP {response.status_code}")
