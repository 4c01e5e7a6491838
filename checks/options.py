"""The configured options of the checks."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from checks.references import Pair


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class CheckPair(_Model):
    """A pair of tables and the database that they are in; every one where it is not said."""

    pair: Pair
    database: str | None = None


class CheckOptions(_Model):
    """The options of one check, and the pairs where it is one of pairs."""

    values: dict[str, Any] = Field(default_factory=dict)
    pairs: tuple[CheckPair, ...] = ()
