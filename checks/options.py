"""The configured options of the checks."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from checks.references import Pair


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class CheckPair(_Model):
    """A pair of tables and its database; None for every database."""

    pair: Pair
    database: str | None = None


class CheckOptions(_Model):
    """The options of one check, and its pairs if it is a check of pairs."""

    values: dict[str, Any] = Field(default_factory=dict)
    pairs: tuple[CheckPair, ...] = ()
