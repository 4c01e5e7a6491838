"""The settings of the patch unit, `/etc/sereno/patch.toml`: written by root, read by root."""

import os
import stat
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError

from daemon.config.problem import problems_of
from daemon.config.values import TimeZone
from domain.calendar import Due, latest
from domain.options import CronText, Duration, Model

DEFAULT = Path("/etc/sereno/patch.toml")
MOST_BYTES = 100_000


class PatchSettings(Model):
    """The packages that the patch unit may install, and its window."""

    apply: Literal["report", "postgresql-minor"] = Field(
        "report",
        description="`report` installs nothing; `postgresql-minor` installs minor releases.",
    )
    majors: tuple[Annotated[int, Field(strict=True, ge=10, le=99)], ...] = Field(
        (), description="The major versions whose installed packages are upgraded, like [15]."
    )
    cron: CronText = Field(description="When the window begins, like `0 3 * * sun`.")
    window: Duration = Field(
        timedelta(hours=2),
        ge=timedelta(minutes=35),  # the timer looks every half hour
        description="Time in which an upgrade may begin; it then runs to its end.",
    )
    timezone: TimeZone = Field("UTC", description="The zone of `cron`.")
    user: str = Field("sereno", description="The user of the service, who is asked for objections.")

    def open_window(self, now: datetime) -> Due | None:
        """Return the window that is open at an instant, by its beginning; None outside."""
        due = latest(self.cron, ZoneInfo(self.timezone), now)
        return due if due is not None and now < due.instant + self.window else None


class SettingsError(Exception):
    """The settings cannot be used; the text names the file, the mistakes and the cure."""


def load_settings(path: Path) -> PatchSettings:
    """Read the settings. Raises SettingsError, also for a file that others than root may write."""
    try:
        values = tomllib.loads(_read(path))
        settings = PatchSettings.model_validate(values, by_name=False)
    except ValidationError as error:
        raise SettingsError(_text(path, *problems_of(error, PatchSettings, ()))) from None
    except OSError as error:
        raise SettingsError(_text(path, error.strerror)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(_text(path, f"is not TOML: {error}")) from None
    if settings.apply != "report" and not settings.majors:
        raise SettingsError(_text(path, "majors: is required to apply, like [15]"))
    return settings


def _read(path: Path) -> str:
    """Return the text of a file that only this user may change; of the file that was looked at."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, "rb") as file:
        state = os.fstat(opened)
        if not stat.S_ISREG(state.st_mode):
            raise SettingsError(_text(path, "is not a file"))
        if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            cure = f"chown root {path}; chmod go-w {path}"
            raise SettingsError(_text(path, f"others than root may write it: {cure}"))
        return file.read(MOST_BYTES).decode()


def _text(path: Path, *problems: object) -> str:
    return "\n".join([f"{path}:", *(f"  {problem}" for problem in problems)])
