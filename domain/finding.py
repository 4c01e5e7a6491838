"""The vocabulary of what is wrong. The whole house speaks it, so it knows nobody."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody has to look. Ordered: `Severity.HIGH > Severity.WARNING`."""

    INFO = "info"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return the place on the ladder, 0 for info."""
        return list(Severity).index(self)

    def __lt__(self, other: str) -> bool:
        """Compare by rank, never by spelling."""
        return self.rank < Severity(other).rank

    def __le__(self, other: str) -> bool:
        """Compare by rank."""
        return self.rank <= Severity(other).rank

    def __gt__(self, other: str) -> bool:
        """Compare by rank."""
        return self.rank > Severity(other).rank

    def __ge__(self, other: str) -> bool:
        """Compare by rank."""
        return self.rank >= Severity(other).rank


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two findings the same trouble: where and what, never how bad or in which words."""

    kind: str
    instance: str = ""
    cluster: str = ""
    database: str = ""
    object: str = ""
    task: str = ""

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits; each field is counted, so no two spellings of the fields can meet."""
        digest = hashlib.sha256(b"sereno 1")
        for part in (self.kind, self.instance, self.cluster, self.database, self.object, self.task):
            octets = unicodedata.normalize("NFC", part).encode("utf-8", "surrogatepass")
            digest.update(len(octets).to_bytes(8, "big") + octets)
        return digest.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with its cure."""

    identity: Identity
    severity: Severity
    summary: str
    value: float | None = None
    remedy: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The check or condition that speaks."""
        return self.identity.kind
