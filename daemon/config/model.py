"""The configuration as frozen models; the reference is generated from the descriptions."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field

from alerts.channels.channel import ChannelOptions
from checks.options import CheckOptions
from daemon.config.alerting import Alerting, Escalation
from daemon.config.jobs import MODELS, Jobs, Times
from daemon.config.values import Listen, TimeZone
from domain.secret import Secret
from jobs.option_types import Duration, Model, Retention, Size


def _conninfo(text: str) -> str:
    try:
        conninfo_to_dict(text)
    except ProgrammingError:
        # libpq's own sentence may quote the password
        raise ValueError(
            'is not a connection string (like "host=/run/postgresql dbname=coop")'
        ) from None
    return text


class Daemon(Model):
    """The identity of this sereno, and its files."""

    name: str = Field(
        "sereno",
        min_length=1,
        max_length=63,
        description="Part of every alert's identity: no two instances close each other's tickets.",
    )
    timezone: TimeZone = Field(
        "UTC", description="The zone of the schedules, and of columns without one."
    )
    state: Path = Field(Path("/var/lib/sereno/state.db"), description="History, alerts and outbox.")
    keep: Retention = Field(
        timedelta(days=400),
        ge=timedelta(days=35),
        description="Finished runs, ended alerts, delivered messages and the pages of reports: log_cleanup removes "
        "older ones.",
    )
    checks: Path = Field(
        Path("/etc/sereno/checks.d"), description="Your own checks: one SQL file each."
    )
    listen: Listen = Field(
        "127.0.0.1:9188", description='Where /metrics and /healthz are; "" is nowhere.'
    )


class Login(Model):
    """A role of the server."""

    user: str = Field(min_length=1, description="The role, as the catalog spells it.")
    password: Secret | None = Field(
        None, description="Where its password lies: { file }, { env } or { credential }."
    )


class Database(Model):
    """One database and the two logins that work in it."""

    dsn: Annotated[str, AfterValidator(_conninfo)] = Field(
        description="conninfo or URI of the server itself, not of a pooler; passwords belong into the logins.",
        repr=False,
    )
    maintain: Login | None = Field(None, description="Looks, and runs ANALYZE and VACUUM.")
    data: Login | None = Field(
        None, description="Deletes rows of the listed tables, and may do nothing else."
    )
    tags: tuple[str, ...] = Field((), description="Words that rules of alerting may match.")
    allow_privileged_dml: bool = Field(
        default=False,
        description="Delete rows even with a login whose rights a trigger could abuse.",
    )


class Schedule(Times):
    """A list of jobs, its due times, and its window."""

    jobs: tuple[str, ...] = Field(min_length=1, description="In this order.")


class GovernorLimits(Model):
    """Limits above which sereno pauses.

    Any single one pauses, as do waiting sessions and `sereno pause`.
    """

    flag_file: Path | None = Field(None, description="Pause while this file is there.")
    replica_lag: Duration = Field(
        timedelta(seconds=10), description="Pause while a standby replays later than this."
    )
    replica_lag_size: Size = Field(
        64 * 1024**2, gt=0, description='Or is this far behind (like "64 MB").'
    )
    archive_backlog: int = Field(
        100, ge=1, description="Pause while more WAL files wait for the archiver."
    )
    slot_retained: Size = Field(
        16 * 1024**3, gt=0, description="Pause while a replication slot keeps more WAL."
    )
    free_disk: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Pause while less than this share of the data directory's mount is free.",
    )
    active_sessions: int | None = Field(
        None, ge=1, description="Pause while more sessions run a statement."
    )
    backups: bool = Field(
        default=True, description="Pause while a base backup, or a pg_dump of the database, runs."
    )
    query: str = Field(
        "",
        description="Pause while this query, read only, answers with a reason in its first column.",
    )
    critical: float = Field(
        3.0,
        ge=1,
        description="So many times over its limit a signal also cancels what is in flight.",
    )
    pace: Literal["auto", "gentle", "full"] = Field(
        "auto",
        description="How fast the work goes: auto is gentle while others are at work. Gentle is one session, a breath "
        "between batches, and VACUUM and ANALYZE with breaths of their own.",
    )
    patience: Duration = Field(
        timedelta(hours=1), description="After this long the step is given up: throttled."
    )
    batch: Duration = Field(
        timedelta(milliseconds=200), description="How long one batch of rows should take."
    )
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="The most rows of one batch.")


class Routes(Model):
    """The channels of each severity."""

    info: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()


class Repeat(Model):
    """The interval at which open, unacknowledged alerts are repeated."""

    high: Duration = timedelta(hours=24)
    critical: Duration = timedelta(hours=1)


class Heartbeat(Model):
    """An external dead-man's switch, pinged while everything works."""

    url: Secret | None = Field(
        None, description="Its URL (like Healthchecks'); https, or http to this machine.",
        examples=['{ credential = "heartbeat-url" }'],
    )  # fmt: skip
    every: Duration = timedelta(minutes=5)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Config(Model):
    """A whole configuration."""

    daemon: Daemon = Daemon()
    databases: dict[Name, Database] = Field(min_length=1)
    schedules: dict[str, Schedule] = Field(default_factory=dict)
    governor: GovernorLimits = GovernorLimits()
    jobs: Jobs = Jobs()
    checks: dict[str, CheckOptions] = Field(default_factory=dict)
    channels: dict[str, ChannelOptions] = Field(default_factory=dict)
    routes: Routes = Routes()
    repeat: Repeat = Repeat()
    alerts: Alerting = Alerting()
    escalation: Escalation = Escalation()
    heartbeat: Heartbeat = Heartbeat()

    @property
    def timetable(self) -> Mapping[str, Schedule]:
        """Return the schedules by name, including those of single jobs."""
        own = {name: self.job(name).schedule for name in MODELS}
        return self.schedules | {
            name: Schedule(jobs=(name,), **dict(times))
            for name, times in own.items()
            if times is not None
        }

    def job(self, name: str) -> Any:  # noqa: ANN401 - each job has its own model
        """Return the options of a job, an instance of its own model and of JobOptions."""
        return getattr(self.jobs, name)
