"""The part of the alerts that a look has covered."""

from dataclasses import dataclass
from typing import Protocol


class Covered(Protocol):
    """The fields of an alert that coverage is compared with."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def database(self) -> str: ...  # noqa: D102
    @property
    def object(self) -> str: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def cluster(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a look would have seen: an open alert inside it that was not found again is over. None means any."""

    kind: str
    database: str | None = None
    object: str | None = None
    task: str | None = None
    cluster: str | None = None
    final: bool = False
    """Over it is, however it flapped: who says so knows."""

    def includes(self, alert: Covered) -> bool:
        """Say whether this look speaks for the alert."""
        return (
            alert.kind == self.kind
            and self.database in {None, alert.database}
            and self.object in {None, alert.object}
            and self.task in {None, alert.task}
            and self.cluster in {None, alert.cluster}
        )
