"""A user's file that cannot be used as a check: running it fails, and stops no other check."""

from collections.abc import Sequence
from dataclasses import dataclass

from checks.check import Header, OptionValues, Row
from checks.sql_check import BadCheckError
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class BrokenCheck:
    """A check in place of a file; `problem` names the file, the mistake and the cure."""

    header: Header
    problem: str

    def question(self, _session: Session | None, _options: OptionValues) -> str:
        """Return the problem as a comment."""
        return f"-- {self.problem}"

    def look(self, _session: Session | None, _options: OptionValues) -> Sequence[Row]:
        """Raise BadCheckError."""
        raise BadCheckError(self.problem)


def broken(name: str, problem: str) -> BrokenCheck:
    """Return the check in place of a file."""
    title = "A file of a check cannot be used"
    spanish = {"title": "No se puede usar el archivo de una comprobación"}
    return BrokenCheck(Header(name, title, es=spanish, built_in=False), problem)
