"""A digest of the configuration, by which machines see whether they have the same."""

import hashlib

from daemon.config.model import Config

OF_MACHINE = {"daemon": {"folder", "listen", "checks"}, "web": {"listen"}}
"""The keys that may differ from machine to machine."""


def digest_of(config: Config) -> str:
    """Return 16 hexadecimal digits; passwords are not in it, only where they are."""
    values = config.model_dump_json(exclude=OF_MACHINE)
    return hashlib.sha256(values.encode()).hexdigest()[:16]
