"""What every channel is: it takes a notification, or says how it failed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from alerts.alert import Message, Notification, Receipt
from domain.secret import Secret, SecretError


class Failure(StrEnum):
    """What kind of failure it was, and so what is done next."""

    PERMANENT = "permanent"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    """The request was out when the answer was lost: it may have been taken."""


class DeliveryError(Exception):
    """The channel has not (or perhaps not) taken the message. The sentence holds no secret."""

    def __init__(
        self, failure: Failure, reason: str, retry_after_seconds: float | None = None, status: int = 0
    ) -> None:
        super().__init__(reason)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        """HTTP's, where it was HTTP."""


def revealed(secret: Secret | None) -> str:
    """Read a secret for a delivery; nothing where there is none. DeliveryError: it is not there, and may come."""
    try:
        return secret.reveal() if secret is not None else ""
    except SecretError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error)) from None


class ChannelOptions(BaseModel):
    """The table `[channels.<name>]`; each channel adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    def doubts(self) -> Iterator[tuple[str, str]]:
        """Yield what is right to say, and can hardly work here: the key, and why."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Traits:
    """What kind of way a channel is."""

    bundles: bool = False
    """One message may stand for several alerts (else each alert is a thing of its own there, like a ticket)."""
    edits: bool = False
    """What was told first can be brought up to date."""
    converses: bool = False
    """It wants to know who has acknowledged."""
    interval_seconds: float = 0.0
    """How far apart its messages have to be, at the least."""
    refresh_seconds: float = 0.0
    """How often it wants to hear what is still so; 0: not at all."""


class Channel(Protocol):
    """One way out of the house."""

    @property
    def traits(self) -> Traits:
        """Say what kind of way it is."""

    def deliver(self, notification: Notification) -> Receipt:
        """Send one copy. DeliveryError: nobody has taken it, or nobody knows."""


@runtime_checkable
class Refreshing(Protocol):
    """A way on which what is not said again and again is over."""

    def refresh(self, messages: Sequence[Message]) -> None:
        """Say again what is still so. DeliveryError: nobody has heard it."""


class Taken(Protocol):
    """What is done when somebody acknowledges an alert from outside."""

    def __call__(self, alert: int, by: str) -> None:
        """Take an alert by its number; one that is over already is left."""


@runtime_checkable
class Listening(Protocol):
    """A way on which somebody may acknowledge."""

    def listen(self, taken: Taken) -> Callable[[], None] | None:
        """Begin to listen, without waiting; return how that is ended. None: it is not wished."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: the instance's name, for subjects and user agents."""

    instance: str
