"""What every channel is: it takes a notification, or says how it failed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from alerts.alert import Notification, Receipt


class Failure(StrEnum):
    """What kind of failure it was, and so what is done next."""

    PERMANENT = "permanent"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    """The request was out when the answer was lost: it may have been taken."""


class DeliveryError(Exception):
    """The channel has not (or perhaps not) taken the message. The sentence holds no secret."""

    def __init__(self, failure: Failure, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class ChannelOptions(BaseModel):
    """The table `[channels.<name>]`; each channel adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str


class Channel(Protocol):
    """One way out of the house."""

    def deliver(self, notification: Notification) -> Receipt:
        """Send one copy. DeliveryError: nobody has taken it, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: the instance's name, for subjects and user agents."""

    instance: str
