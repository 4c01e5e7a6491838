"""The configured options of the checks."""

from typing import Any

from pydantic import Field

from checks.references import Pair
from domain.options import Model


class CheckPair(Model):
    """A pair of tables and its database; None for every database."""

    pair: Pair
    database: str | None = None


class CheckOptions(Model):
    """The options of one check, and its pairs if it is a check of pairs."""

    values: dict[str, Any] = Field(default_factory=dict)
    pairs: tuple[CheckPair, ...] = ()
