"""The section [daemon] of the configuration: this sereno, its state and its files."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from daemon.config.values import Listen, TimeZone
from domain.options import AbsolutePath, Model, Retention
from store.opening import STATE_URLS

USUAL_FOLDER = Path("/var/lib/sereno")


def _plain_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain line breaks or other control characters")
    return text


def parse_state(value: object) -> object:
    """Parse the place of the state; a URL is kept as text. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith(STATE_URLS):
        return TypeAdapter(AbsolutePath).validate_python(value)
    try:
        parts = conninfo_to_dict(value)
    except ProgrammingError:  # which would quote a part, perhaps a password
        raise ValueError("is not a URL that libpq can read") from None
    if parts.get("password") or parts.get("sslpassword"):
        raise ValueError("holds a password; let the parameter passfile name a file with it")
    if not all(one.isdecimal() for one in str(parts.get("port") or "0").split(",")):
        raise ValueError("has a port that is no number")
    if not parts.get("dbname"):
        raise ValueError("names no database: postgresql://HOST/NAME")
    return value


State = Annotated[Path | str, BeforeValidator(parse_state)]


class Daemon(Model):
    """The identity of this sereno, and its files."""

    name: Annotated[str, AfterValidator(_plain_name)] = Field(
        "sereno",
        min_length=1,
        max_length=63,
        description=(
            "Part of every alert's identity: instances with different names keep their tickets "
            "apart."
        ),
    )
    timezone: TimeZone = Field(
        "UTC",
        description=(
            "The zone of the schedules, of times shown to people, and of columns without a time "
            "zone."
        ),
    )
    state: State = Field(
        Path("/var/lib/sereno/state.db"),
        description='History, alerts and outbox: a file, or a database ("postgresql://HOST/NAME") '
        "that several machines share.",
    )
    folder: AbsolutePath | None = Field(
        None,
        description="Local files beside the state: locks and report pages. By default the folder "
        "of the state file, or /var/lib/sereno.",
    )
    keep: Retention = Field(
        timedelta(days=400),
        ge=timedelta(days=35),
        description="How long runs, alerts, notifications and report pages are kept; the job "
        "self_cleanup deletes "
        "older ones.",
    )
    checks: AbsolutePath = Field(
        Path("/etc/sereno/checks.d"),
        description="A folder with checks of your own, one SQL file each.",
    )
    at_once: int = Field(
        16,
        ge=1,
        le=32,
        description="How many databases are worked on at once; the others wait for their turn.",
    )
    listen: Listen = Field(
        "127.0.0.1:9188", description='Address of /metrics and /healthz; "" disables them.'
    )

    @property
    def local_folder(self) -> Path:
        """Return the folder of local files."""
        if self.folder is not None:
            return self.folder
        return self.state.parent if isinstance(self.state, Path) else USUAL_FOLDER
