"""The place of a service in a fleet that it leads."""

from typing import Protocol

from daemon.context import Context
from daemon.liveness import Watchdog
from daemon.scheduling.hand_out import Admission, HandOut
from daemon.state_health import StateHealth


class Membership(Protocol):
    """The place of a service in a fleet that it leads."""

    watchdog: Watchdog

    @property
    def hand_out(self) -> HandOut:
        """Return the way to the workers."""

    @property
    def health(self) -> StateHealth:
        """Return the health of the state, as this process knows it."""

    def begin(self, context: Context, admission: Admission) -> None:
        """Look after the workers from now on."""

    def use(self, context: Context) -> None:
        """Use another configuration from now on."""

    def resigns(self) -> bool:
        """Return whether another worker is to lead."""
