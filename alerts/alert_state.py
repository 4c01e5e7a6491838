"""The stored state that the lifecycle decides on: open and ended alerts, silences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alerts.alert import Alert

if TYPE_CHECKING:
    from alerts.policy import Silence


@dataclass(frozen=True, slots=True)
class AlertState:
    """Open alerts, the channels notified of each by id, and suppressions."""

    alerts: Sequence[Alert]
    notified: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    ended: Mapping[str, Alert] = field(default_factory=dict)
    """The last resolved alert by fingerprint."""
    silences: "tuple[Silence, ...]" = ()
    unreachable: frozenset[str] = frozenset()
    """Databases that do not answer."""
    down: frozenset[str] = frozenset()
    """The addresses of servers that do not answer."""
