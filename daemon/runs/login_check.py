"""The check that the logins of a run are after it as they were before.

Code of a table's owner runs with the rights of the login, and every role may change its own
password and settings: the owner would then have the login, or lock sereno out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postgres.session import MAINTAIN, Login, Session, Target, TargetError, open_session
from postgres.statement_file import read_statement

TASK = "login_check"

_SETTINGS = read_statement("postgres.fencing", "login_settings")


@dataclass(frozen=True, slots=True)
class CheckedLogin:
    """A login after a run; `changed` says what has changed."""

    user: str
    changed: str = ""
    plain: bool = True
    """Whether it has no settings of its own, as `sereno install` creates it."""


def read_login_settings(session: Session, target: Target) -> Mapping[str, str]:
    """Return the settings and the end of validity of the logins by user; empty for none."""
    users = [one.user for login, one in target.logins.items() if login.kind != "maintain"]
    if not users:
        return {}
    return {row["name"]: row["settings"] for row in session.rows(_SETTINGS, (users,))}


def check_logins(
    session: Session, target: Target, used: Iterable[Login], before: Mapping[str, str]
) -> list[CheckedLogin]:
    """Compare the settings of the logins used, and log in anew as each of them."""
    after = read_login_settings(session, target)
    checked = []
    for login in sorted(used):
        user = target.logins[login].user
        settings = after.get(user, "")
        changed = ""
        if settings != before.get(user, ""):
            changed = f"its settings were changed: {settings or 'none are left'}"
        elif refused := _refused(target, login):
            changed = f"it cannot log in any more: {refused}"
        checked.append(CheckedLogin(user, changed, plain=not settings))
    return checked


def _refused(target: Target, login: Login) -> str:
    """Return why a login is refused while `maintain` is accepted; empty if it is accepted."""
    try:
        with open_session(target, login, TASK, read_only=True):
            return ""
    except TargetError as error:
        reason = str(error)
    try:
        with open_session(target, MAINTAIN, TASK, read_only=True):
            return reason
    except TargetError:
        return ""
