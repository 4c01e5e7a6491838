"""Asks the service for objections and tells it the result, by a command that runs as its user."""

import os
import sys
from collections.abc import Mapping, Sequence

from checks import programs
from daemon.exit_codes import Exit
from daemon.patching.upgrade_report import UpgradeReport

SECONDS = 180.0
MOST_OBJECTIONS = 20
MOST_TEXT = 300
_KEPT = ("SERENO_CONFIG", "TZ")


class Service:
    """The service of a user. Of its answers only the veto counts; its text is only shown."""

    def __init__(self, user: str, environment: Mapping[str, str] = os.environ) -> None:
        self._user = user
        kept = {name: environment[name] for name in _KEPT if name in environment}
        self._environment = {"PATH": os.defpath, **kept}

    def objections(self, *, hold: bool) -> Sequence[str]:
        """Return why the service objects; any answer but a clean yes is an objection."""
        answer = self._ask(["ask", *(["--hold"] if hold else [])])
        if answer.code == Exit.FINE and not answer.wrong:
            return ()
        lines = answer.output.splitlines() if answer.code == Exit.FOUND else []
        if not lines:
            lines = [f"sereno patch ask: {answer.wrong or answer.code}"]
        return [_shown(line) for line in lines[:MOST_OBJECTIONS]]

    def tell(self, report: UpgradeReport) -> str:
        """Tell the result; return what went wrong, or the empty text."""
        answer = self._ask(["record"], report.model_dump_json().encode())
        return "" if answer.code == Exit.FINE else _shown(answer.wrong or str(answer.code))

    def _ask(self, arguments: Sequence[str], given: bytes = b"") -> programs.Answer:
        # -I: nothing of the current folder or of the environment is imported
        command = [sys.executable, "-I", "-m", "daemon", "patch", *arguments]
        try:
            return programs.ask(
                command, SECONDS, given=given, user=self._user, environment=self._environment
            )
        except OSError as error:
            return programs.Answer(-1, wrong=str(error))
        except KeyError:
            return programs.Answer(-1, wrong=f"there is no user {self._user!r}")


def _shown(text: str) -> str:
    """Return text from the service's user as one line without control characters."""
    return "".join(one if one.isprintable() else "?" for one in text[:MOST_TEXT])
