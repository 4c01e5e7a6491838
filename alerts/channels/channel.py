"""The interface of a channel: it accepts a notification or raises a classified failure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from alerts.alert import Message, Notification, Receipt
from domain.secret import Secret, SecretError


class Failure(StrEnum):
    """The class of a failure; it decides about retries."""

    PERMANENT = "permanent"
    """The message itself is refused."""
    CHANNEL = "channel"
    """Every message is refused, for example because of a password or a quota: retried as long as
    anything else, and alerted at once."""
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    """The request was sent and its answer lost: it may have been accepted."""


class DeliveryError(Exception):
    """The channel did not, or possibly did not, accept the message. The text holds no secret."""

    def __init__(
        self,
        failure: Failure,
        reason: str,
        retry_after_seconds: float | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(reason)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        """HTTP status, if the failure was an HTTP answer."""


def error_words(error: Exception) -> str:
    """Return what an error of the system says, without its number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def reveal_secret(secret: Secret | None) -> str:
    """Return a secret, or the empty text for None.

    Raises DeliveryError (transient) if it is missing.
    """
    try:
        if secret is not None:
            return secret.reveal()
    except SecretError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error)) from None
    return ""


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of a channel."""

    groups: bool = False
    """One message may cover several alerts; otherwise each alert is an object of its own (ticket).
    """
    edits: bool = False
    """Sent messages can be updated."""
    wants_acknowledgements: bool = False
    """The channel is notified of acknowledgements."""
    interval_seconds: float = 0.0
    """Minimum time between two messages."""
    refresh_seconds: float = 0.0
    """Interval at which open alerts are sent again; 0 for never."""


class ChannelOptions(BaseModel):
    """The table `[channels.<name>]`; each channel adds its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    language: Literal["en", "es"] | None = Field(
        None,
        description="Language of alerts and of the health report for its readers; by default that "
        "of [jobs.health_report].",
    )

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Yield options that are valid but unlikely to work on this machine: the key, and why."""
        yield from ()

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits()


class Channel(Protocol):
    """One configured destination."""

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""

    def deliver(self, notification: Notification) -> Receipt:
        """Send one copy. Raises DeliveryError."""


@runtime_checkable
class Refreshing(Protocol):
    """A channel that considers an alert resolved unless it is sent again."""

    def refresh(self, messages: Sequence[Message]) -> None:
        """Send the open alerts again. Raises DeliveryError."""


class AcknowledgeCallback(Protocol):
    """Called when someone acknowledges an alert through a channel."""

    def __call__(self, alert: int, by: str, /) -> object:
        """Acknowledge an alert by number; an alert that is not open is ignored."""


@runtime_checkable
class Listening(Protocol):
    """A channel through which people may acknowledge."""

    def listen(self, taken: AcknowledgeCallback) -> Callable[[], None] | None:
        """Start listening in the background.

        Return the function that stops it, None if not configured.
        """


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender's instance name, for subjects and user agents."""

    instance: str
    place: str = ""
    """The user and host on which `sereno` is run, like sereno@db1."""
