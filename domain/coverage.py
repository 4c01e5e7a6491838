"""The alerts that a check or a step has looked for."""

from dataclasses import dataclass
from typing import Protocol


class Covered(Protocol):
    """The fields of an alert that a coverage compares."""

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
    """The area examined: covered open alerts without a new finding are resolved.

    None matches any value.
    """

    kind: str
    database: str | None = None
    object: str | None = None
    task: str | None = None
    cluster: str | None = None
    apart: tuple[str, ...] = ()
    """Objects that are not examined here: another look covers them."""
    final: bool = False
    """Resolve at once, without flap damping: an operator or the service itself knows it is over."""

    def includes(self, alert: Covered) -> bool:
        """Return whether an alert lies within this area."""
        return (
            alert.kind == self.kind
            and self.database in {None, alert.database}
            and self.object in {None, alert.object}
            and alert.object not in self.apart
            and self.task in {None, alert.task}
            and self.cluster in {None, alert.cluster}
        )
