"""What every stage of the head is handed: built once, from the configuration, in `daemon.app`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from alerts.channels.channel import Channel
from alerts.courier import Courier
from alerts.rhythm import Rhythm
from alerts.rules import Policy
from checks.registry import Known
from daemon.config.model import Config
from postgres.connection import Target
from store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The store, the rules and the ways out."""

    config: Config
    store: Store
    checks: Known
    policy: Policy
    channels: Mapping[str, Channel]
    target: Callable[[str], Target]
    """A database's ways in, its passwords read at this moment."""
    clock: Callable[[], datetime]
    rhythms: dict[str, Rhythm] = field(default_factory=dict)
    """What the channels have shown of their limits."""

    def after(self, former: "Parts") -> None:
        """Take over what a former configuration has learnt of those channels that are still the same."""
        same = [name for name, options in self.config.channels.items() if options == former.config.channels.get(name)]
        self.rhythms.update({name: former.rhythms[name] for name in same if name in former.rhythms})

    def courier(self) -> Courier:
        """Return who carries the messages."""
        return Courier(self.store, self.channels, self.policy, self.clock, rhythms=self.rhythms)
