"""Slack, by bot token or incoming webhook. The only module that knows slack_sdk, whose own retries post twice."""

import logging
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from alerts.alert import Message, Notification, Reason, Receipt
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender
from alerts.channels.post import private
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
        # those of an incoming webhook
        "no_service",
        "no_service_id",
        "no_team",
        "no_active_hooks",
        "team_disabled",
        "invalid_token",
        "invalid_payload",
        "action_prohibited",
        "posting_to_general_channel_denied",
        "channel_is_archived",
    }
)


class Options(ChannelOptions):
    """A bot token (`chat:write`) and a channel; or the URL of an incoming webhook, which knows no threads."""

    type: Literal["slack"]
    token: Secret | None = Field(None, examples=['{ credential = "slack-token" }'])
    channel: str = Field("", examples=['"#operaciones"'])
    url: Secret | None = Field(None, description="an incoming webhook, instead of token and channel")
    mention: str = Field(
        "", description="who is called for critical ones: a user id (U…), a group id (S…), here or channel"
    )
    api_url: str = Field("https://slack.com/api/", description="only for tests and proxies")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.token is None) or bool(self.channel) != (self.token is not None):
            message = "give token and channel, or the url of an incoming webhook"
            raise ValueError(message)
        return self


class Slack:
    """Posts the first message of an alert, and answers in its thread from then on."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options

    def deliver(self, notification: Notification) -> Receipt:
        """Post it; its name in the channel is its timestamp (by webhook it has none)."""
        from slack_sdk.errors import SlackApiError, SlackClientError

        logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)  # it logs errors itself, at DEBUG the token
        try:
            if self._options.url is not None:
                return self._by_webhook(notification, self._options.url)
            answer = self._client().chat_postMessage(**payload(notification, self._options))
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
        stamp = str(answer.get("ts", ""))
        return Receipt(f"in {self._options.channel} as {stamp}", remote=stamp)

    def _by_webhook(self, notification: Notification, secret: Secret) -> Receipt:
        """The reduced mode: no metadata, no thread; a later message stands on its own."""
        from slack_sdk.webhook import WebhookClient

        url = _revealed(secret)
        if not private(url):
            raise DeliveryError(Failure.PERMANENT, "the webhook's url is not https")
        said = payload(notification, self._options)
        answer = WebhookClient(url, timeout=TIMEOUT_SECONDS, retry_handlers=[]).send_dict(
            {name: said[name] for name in ("text", "blocks", "unfurl_links", "unfurl_media")}
        )
        if answer.status_code == 200 and answer.body == "ok":  # noqa: PLR2004 - Slack's whole answer
            return Receipt("by the webhook")
        raise _refused(answer.status_code, answer.body, answer.headers)

    def _client(self) -> Any:  # noqa: ANN401 - the type would import the library at start-up
        from slack_sdk import WebClient

        token = _revealed(self._options.token) if self._options.token else ""
        return WebClient(token=token, base_url=self._options.api_url, timeout=TIMEOUT_SECONDS, retry_handlers=[])


def _revealed(secret: Secret) -> str:
    try:
        return secret.reveal()
    except SecretError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error)) from None


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
    quiet = message.reason in {Reason.RESOLVED, Reason.REPORT}
    if not options.mention or message.severity is not Severity.CRITICAL or quiet:
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
    return _refused(response.status_code, error, response.headers)


def _refused(status: int, error: str, headers: Mapping[str, str]) -> DeliveryError:
    """Class Slack's word, which means the same by both ways."""
    if status == 429 or error in {"ratelimited", "rate_limited", "message_limit_exceeded"}:  # noqa: PLR2004
        after = headers.get("Retry-After") or headers.get("retry-after")
        return DeliveryError(Failure.THROTTLED, error or "429", float(after) if after else None)
    if error in _PERMANENT:
        return DeliveryError(Failure.PERMANENT, error)
    return DeliveryError(Failure.TRANSIENT, error or f"HTTP {status}")
