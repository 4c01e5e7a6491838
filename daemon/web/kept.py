"""Answers kept for a moment: many people look at one page while the service works."""

import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from store.store import Store

if TYPE_CHECKING:
    from fastapi.responses import Response

MOST, LARGEST = 50, 262_144
"""The number of answers, and the bytes of one."""


class KeptAnswers:
    """The answers of this second to equal questions, as long as the state file is unchanged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: tuple[Hashable, dict[Hashable, Response]] = (None, {})

    def answer(self, question: Hashable, make: "Callable[[], Response]") -> "Response":
        """Return the kept answer, or make one. Raises what `make` raises, and StoreError."""
        moment = (self._store.changed, int(time.monotonic()))
        of, answers = self._kept
        if of != moment:
            answers = {}
            self._kept = (moment, answers)
        if question not in answers:
            made = make()
            if len(answers) < MOST and len(made.body) <= LARGEST:
                answers[question] = made
            return made
        return answers[question]
