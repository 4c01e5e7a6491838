"""Findings, their severity and their identity."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """The urgency of a finding. Ordered: `Severity.HIGH > Severity.WARNING`."""

    INFO = "info"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return the position in the order, 0 for info."""
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
    """The identity of a finding: kind and place, never severity, text or numbers."""

    kind: str
    instance: str = ""
    cluster: str = ""
    database: str = ""
    object: str = ""
    task: str = ""

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits.

        Every field is prefixed with its length, so none can imitate two.
        """
        digest = hashlib.sha256(b"sereno 1")
        for part in (self.kind, self.instance, self.cluster, self.database, self.object, self.task):
            octets = unicodedata.normalize("NFC", part).encode("utf-8", "surrogatepass")
            digest.update(len(octets).to_bytes(8, "big") + octets)
        return digest.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Finding:
    """One detected problem and its remedy."""

    identity: Identity
    severity: Severity
    summary: str
    value: float | None = None
    remedy: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return the name of the check or condition."""
        return self.identity.kind
