"""Secrets: named in the configuration, read at use, never printed."""

import os
import stat
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

SHOWN = "***"
CREDENTIALS = "/etc/sereno/credentials"
"""The folder of credentials for commands by hand; systemd tells the service its own copy of them.
"""
LONGEST = 65_536
"""The most characters of a secret."""


class SecretError(Exception):
    """A secret cannot be read; the message names its location, never its value."""


class Secret(BaseModel):
    """The location of a secret: a file, an environment variable, or a systemd credential."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = None
    env: str | None = None
    credential: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.file, self.env, self.credential)) != 1:
            message = (
                'give exactly one of file, env, credential (like { credential = "slack-token" })'
            )
            raise ValueError(message)
        return self

    def reveal(self) -> str:
        """Read the secret without its trailing newline.

        Raises SecretError unless it is one line of text.
        """
        value = self._read()
        if any(ord(character) < ord(" ") for character in value):
            raise SecretError(
                f"{self.file or self.env or self.credential}: not one line without control "
                "characters"
            )
        return value

    def _read(self) -> str:
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise SecretError(f"the environment variable {self.env} is not set")
            return value
        path = self._path()
        try:
            with path.open(encoding="utf-8") as file:
                if self.file is not None and os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                    raise SecretError(f"everybody may read {path}; chmod 600 {path}")
                value = file.read(LONGEST).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from None
        if not value:
            raise SecretError(f"{path} is empty")
        return value

    def path(self) -> Path | None:
        """Return the file that holds the secret; None for an environment variable."""
        return None if self.env is not None else self._path()

    def _path(self) -> Path:
        if self.file is not None:
            return self.file
        return Path(os.environ.get("CREDENTIALS_DIRECTORY") or CREDENTIALS) / str(self.credential)

    def __repr__(self) -> str:
        """Return the class name only."""
        return f"Secret({SHOWN})"

    __str__ = __repr__
