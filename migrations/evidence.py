"""Evidence that an environment has rehearsed and applied a migration, signed with its key."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from migrations.format import FORMAT

_PREFIX = b"sereno evidence\n"
_KEY_BYTES = 32


class EvidenceError(Exception):
    """Evidence or a key cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The phases and rehearsal of one version of a migration in one environment."""

    migration: str
    checksum: str
    rung: str
    system_identifier: str
    server_version: str
    """The major version."""
    phase: str
    """The last complete phase."""
    round_trips: tuple[str, ...]
    """The phases from which its rehearsal rolled back to the same schema and data."""
    rehearsed_at: str
    at: str
    format: int = FORMAT

    @property
    def signed_at(self) -> datetime:
        """Return the time of the signature."""
        return datetime.fromisoformat(self.at).astimezone(UTC)

    @property
    def rehearsed(self) -> datetime:
        """Return the time of the rehearsal."""
        return datetime.fromisoformat(self.rehearsed_at).astimezone(UTC)

    def signed(self, private_key: str) -> Mapping[str, Any]:
        """Return it as values of JSON with a signature. Raises EvidenceError for a bad key."""
        signature = _private(private_key).sign(_bytes(asdict(self)))
        return asdict(self) | {"signature": base64.b64encode(signature).decode()}

    @classmethod
    def verified(cls, text: bytes, public_key: str) -> Self:
        """Return the evidence in a file. Raises EvidenceError unless the key signed it."""
        try:
            values: dict[str, Any] = json.loads(text)
            signature = base64.b64decode(str(values.pop("signature")), validate=True)
            signed = _bytes(values)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _unknown() from None
        try:
            Ed25519PublicKey.from_public_bytes(_decoded(public_key)).verify(signature, signed)
        except InvalidSignature:
            raise EvidenceError("the signature is not of the listed key") from None
        if values.get("format") != FORMAT:
            raise EvidenceError(f"its format is {values.get('format')}, this sereno knows {FORMAT}")
        try:
            found = cls(**{one.name: values[one.name] for one in fields(cls)})
            _ = (found.signed_at, found.rehearsed)
        except (ValueError, KeyError, TypeError):
            raise _unknown() from None
        return found


def _unknown() -> EvidenceError:
    return EvidenceError("it is no evidence as sereno migrate evidence writes it")


def make_key() -> tuple[str, str]:
    """Return a new private key and its public key, both in base64."""
    key = Ed25519PrivateKey.generate()
    return _text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw())


def public_key_of(private_key: str) -> str:
    """Return the public key of a private one. Raises EvidenceError."""
    return _text(_private(private_key).public_key().public_bytes_raw())


def _private(text: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_decoded(text))


def _decoded(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise EvidenceError("the key is not one that sereno migrate new-key makes")
    return key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _bytes(values: Mapping[str, Any]) -> bytes:
    """Return the signed bytes: the values in one form."""
    return _PREFIX + json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
