"""The configured options of the checks."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from pydantic import Field

from checks.check import OptionValues
from checks.references import Pair
from domain.options import Model


class CheckPair(Model):
    """A pair of tables and its database; None for every database."""

    pair: Pair
    database: str | None = None


class IgnoredObject(Model):
    """An object whose findings of one check are not told for a while."""

    object: str = Field(min_length=1, description="As in the finding; * stands for any text.")
    until: date = Field(description="The last day, like 2027-01-31.")
    reason: str = Field(min_length=1)


class CheckOptions(Model):
    """The options of one check, its ignored objects, and its pairs if it is a check of pairs."""

    values: dict[str, Any] = Field(default_factory=dict)
    pairs: tuple[CheckPair, ...] = ()
    ignore: tuple[IgnoredObject, ...] = ()

    def values_on(self, day: date) -> OptionValues:
        """Return the values, with the objects that are ignored on a day under `ignored`."""
        names = tuple(one.object for one in self.ignore if one.until >= day)
        return {**self.values, "ignored": names} if names else self.values


def is_ignored(name: str, options: OptionValues) -> bool:
    """Return whether the findings about an object are not told."""
    patterns = options.get("ignored", ())
    return isinstance(patterns, Sequence) and any(_fits(name, str(one)) for one in patterns)


def _fits(name: str, pattern: str) -> bool:
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None
