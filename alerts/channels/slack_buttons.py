"""The Acknowledge button through Slack's Socket Mode, which needs no open port."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from alerts.channels.channel import AcknowledgeCallback, DeliveryError, Failure
from alerts.channels.slack_blocks import ACKNOWLEDGE

if TYPE_CHECKING:
    from slack_sdk.socket_mode import SocketModeClient
    from slack_sdk.socket_mode.client import BaseSocketModeClient
    from slack_sdk.socket_mode.request import SocketModeRequest

RETRY_SECONDS = 30.0
MOST_DIGITS = 19
LONGEST_NAME = 80

_log = structlog.get_logger("slack")


@dataclass(frozen=True, slots=True)
class Line:
    """The tokens, read when needed, and the address of Slack."""

    tokens: Callable[[], tuple[str, str]]
    api_url: str


def listen(line: Line, taken: AcknowledgeCallback) -> Callable[[], None]:
    """Listen for button presses in a thread until the returned function is called."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_work, args=(line, taken, stop), name="slack buttons", daemon=True
    )
    thread.start()
    return stop.set


def _work(line: Line, taken: AcknowledgeCallback, stop: threading.Event) -> None:
    """Connect, retrying until it succeeds; afterwards the client reconnects by itself."""
    logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)  # at DEBUG it logs the tokens
    client = None
    while not stop.is_set():
        try:
            client = client or _client(line, taken)
        except DeliveryError as error:
            _log.warning("slack.buttons_disconnected", reason=str(error))
        except OSError as error:
            _log.warning("slack.buttons_disconnected", reason=str(error) or type(error).__name__)
        stop.wait(RETRY_SECONDS)
    if client is not None:
        client.close()


def _client(line: Line, taken: AcknowledgeCallback) -> "SocketModeClient":
    """Connect. Raises DeliveryError if a token is missing or refused."""
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackClientError
    from slack_sdk.socket_mode import SocketModeClient

    token, app_token = line.tokens()
    web = WebClient(token=token, base_url=line.api_url, retry_handlers=[])
    client = SocketModeClient(app_token, logging.getLogger("slack_sdk"), web, concurrency=1)

    def hear(there: "BaseSocketModeClient", request: "SocketModeRequest") -> None:
        from slack_sdk.socket_mode.response import SocketModeResponse

        # stored before Slack is answered, so that a failure is shown to the user
        if request.type == "interactive":
            for number, who in pressed(request.payload):
                taken(number, who)
        there.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    client.socket_mode_request_listeners.append(hear)
    try:
        client.connect()
    except SlackClientError as error:
        client.close()
        raise _refusal(error) from None
    except OSError:
        client.close()  # the client starts its own threads
        raise
    return client


def _refusal(error: Exception) -> DeliveryError:
    word = getattr(getattr(error, "response", None), "data", {}).get("error", "")
    return DeliveryError(Failure.TRANSIENT, f"Socket Mode: {word or type(error).__name__}")


def pressed(payload: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the alerts acknowledged by a payload, each with the user's name."""
    user = payload.get("user") or {}
    name = str(user.get("username") or user.get("name") or user.get("id") or "somebody")[
        :LONGEST_NAME
    ]
    values = [
        str(action.get("value", ""))
        for action in payload.get("actions") or ()
        if action.get("action_id") == ACKNOWLEDGE
    ]
    numbers = [part for value in values for part in value.split(",") if _is_number(part)]
    return [(int(number), f"{name} (Slack)") for number in numbers]


def _is_number(text: str) -> bool:
    """Return whether text is a decimal number that fits SQLite's integers."""
    return text.isascii() and text.isdigit() and len(text) < MOST_DIGITS
