"""The configuration as frozen models. Each field carries its one sentence; the reference is made from them."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from alerts.channels.channel import ChannelOptions
from alerts.secret import Secret
from archive.folder import check_path
from checks.references import Pair
from daemon.config.values import Column, CronText, Duration, Listen, Retention, Size, Table, TablePattern, TimeZone
from postgres.selection import Selection


class Model(BaseModel):
    """Frozen, and knows no key that is not its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _conninfo(text: str) -> str:
    try:
        conninfo_to_dict(text)
    except ProgrammingError:
        # libpq's own sentence may quote the password
        raise ValueError('is not a connection string (like "host=/run/postgresql dbname=coop")') from None
    return text


class Daemon(Model):
    """Who this sereno is and where it keeps what it knows."""

    name: str = Field(
        "sereno",
        min_length=1,
        max_length=63,
        description="Part of every alert's identity: no two instances close each other's tickets.",
    )
    timezone: TimeZone = Field("UTC", description="The zone of the schedules, and of columns without one.")
    state: Path = Field(Path("/var/lib/sereno/state.db"), description="History, alerts and outbox.")
    checks: Path = Field(Path("/etc/sereno/checks.d"), description="Your own checks: one SQL file each.")
    listen: Listen = Field("127.0.0.1:9188", description='Where /metrics and /healthz are; "" is nowhere.')


class Login(Model):
    """A role of the server."""

    user: str = Field(min_length=1, description="The role, as the catalog spells it.")
    password: Secret | None = Field(None, description="Where its password lies: { file }, { env } or { credential }.")


class Database(Model):
    """One database and the two logins that work in it."""

    dsn: Annotated[str, AfterValidator(_conninfo)] = Field(
        description="conninfo or URI of the server itself, not of a pooler; passwords belong into the logins.",
        repr=False,
    )
    maintain: Login | None = Field(None, description="Looks, and runs ANALYZE and VACUUM.")
    data: Login | None = Field(None, description="Deletes rows of the listed tables, and may do nothing else.")
    allow_privileged_dml: bool = Field(
        default=False, description="Delete rows even with a login whose rights a trigger could abuse."
    )


class Times(Model):
    """When something is due, and how long it may take: a job's own schedule beside the lists."""

    cron: CronText = Field(description='Five fields, in the zone of [daemon]; "L" is the last day of a month.')
    window: Duration = Field(timedelta(hours=2), description="From the due time; the rest goes on the next time.")
    jitter: Duration | None = Field(
        None,
        description="Be due up to so much later: a part of it that is always the same for one daemon.name.",
    )
    catch_up: Literal["always", "in_window", "never"] = Field(
        "in_window",
        description="What was missed while the service was down: run the last of it once, even after its window; "
        "only inside its window; or never. What is not run is told.",
    )
    heartbeat: Secret | None = Field(
        None, description="The URL of an outside dead-man's switch: pinged at /start, at the end, or at /fail."
    )


class Schedule(Times):
    """A list of jobs, its time, and how long it may take."""

    jobs: tuple[str, ...] = Field(min_length=1, description="In this order.")


class GovernorLimits(Model):
    """When to hold back. Any single signal pauses; `sereno pause` and waiting sessions always do."""

    flag_file: Path | None = Field(None, description="Pause while this file is there.")
    replica_lag: Duration = Field(timedelta(seconds=10), description="Pause while a standby replays later than this.")
    replica_lag_size: Size = Field(64 * 1024**2, gt=0, description='Or is this far behind (like "64 MB").')
    archive_backlog: int = Field(100, ge=1, description="Pause while more WAL files wait for the archiver.")
    slot_retained: Size = Field(16 * 1024**3, gt=0, description="Pause while a replication slot keeps more WAL.")
    free_disk: float = Field(
        0.05, ge=0, lt=1, description="Pause while less than this share of the data directory's mount is free."
    )
    active_sessions: int | None = Field(None, ge=1, description="Pause while more sessions run a statement.")
    backups: bool = Field(default=True, description="Pause while a base backup, or a pg_dump of the database, runs.")
    query: str = Field("", description="Pause while this query, read only, answers with a reason in its first column.")
    critical: float = Field(
        3.0, ge=1, description="So many times over its limit a signal also cancels what is in flight."
    )
    pace: Literal["auto", "gentle", "full"] = Field(
        "auto", description="How fast VACUUM and ANALYZE go: auto is gentle while others are at work."
    )
    patience: Duration = Field(timedelta(hours=1), description="After this long the step is given up: throttled.")
    batch: Duration = Field(timedelta(milliseconds=200), description="How long one batch of rows should take.")
    batch_rows: int = Field(10_000, ge=1, le=1_000_000, description="The most rows of one batch.")


class ExpiringTable(Model):
    """Rows of a table that expire by age."""

    table: Table = Field(description="As in SQL, with its schema.")
    column: Column = Field(description="Its age: date, timestamp or timestamptz.")
    keep: Retention = Field(description="Older rows are deleted.")
    database: str | None = Field(None, description="Which database it is in; every one where it is not said.")


class ExpiringFiles(Model):
    """Files of one folder that expire by age."""

    path: Annotated[str, AfterValidator(check_path)] = Field(
        description="A folder and a pattern for names in it; folders below are left alone."
    )
    keep: Retention = Field(description="Older files (by the later of mtime and ctime) are deleted.")
    keep_newest: int = Field(2, ge=1, description="This many stay, however old.")
    most_files: int = Field(1000, ge=1, description="The most that one run deletes; the rest next time.")
    most_share: float = Field(
        0.9, gt=0, le=1, description="More than this share of the files is never deleted at once."
    )


class JobOptions(Model):
    """What every job may have."""

    schedule: Times | None = Field(None, description="A schedule of its own, beside the lists that name it.")


class LogCleanup(JobOptions):
    """Expired rows of log tables and expired log files."""

    tables: tuple[ExpiringTable, ...] = ()
    files: tuple[ExpiringFiles, ...] = ()


class TableRule(Model):
    """What holds for some tables of a job; of two rules for a table the first that says it."""

    table: TablePattern = Field(description="Which tables, by a pattern as psql has them.")
    threshold: int | None = Field(
        None, ge=0, description="Due from so many rows on (dead, or for analyze changed), instead of its own trigger."
    )
    scale_factor: float | None = Field(None, ge=0, le=100, description="And this share of its rows.")
    overrun: bool | None = Field(None, description="Begin it though it would not be done when the window ends.")
    pace: Literal["gentle", "full"] | None = Field(None, description="Instead of governor.pace.")


class TableJob(JobOptions):
    """What a job that goes from table to table may have."""

    include: tuple[TablePattern, ...] = Field(
        (), description="Only these tables, by patterns as psql has them (like 'public.log_*'); all if none is given."
    )
    exclude: tuple[TablePattern, ...] = Field((), description="Tables to leave alone.")
    tables: tuple[TableRule, ...] = ()

    @property
    def selection(self) -> Selection:
        """Which tables are meant."""
        return Selection(self.include, self.exclude)


class Analyze(TableJob):
    """ANALYZE where statistics are stale or missing, partitioned parents too."""

    older_than: Retention | None = Field(
        None, description="Also where they are older than this, and anything has changed since."
    )


class DiskCheck(JobOptions):
    """Every mount that the server or sereno writes to."""

    folders: tuple[Path, ...] = Field((), description="More folders to look at.")


class IntegrityCheck(JobOptions):
    """Runs the checks."""

    exclude: tuple[str, ...] = Field((), description="Checks to leave out.")


class Vacuum(TableJob):
    """VACUUM where a table's own effective trigger asks for it; wraparound first."""

    parallel: int = Field(2, ge=1, le=16, description="How many sessions vacuum side by side in one database.")


class HealthReport(JobOptions):
    """The letter of the week: what needs you, what changed, the nights, growth, next week."""

    channels: tuple[str, ...] = Field((), description="Who gets it; every email channel where none is named.")
    folder: Path | None = Field(None, description="Where its pages are kept; `reports` beside the state file.")


class Jobs(Model):
    """What each job works on."""

    log_cleanup: LogCleanup = LogCleanup()
    analyze: Analyze = Analyze()
    disk_check: DiskCheck = DiskCheck()
    integrity_check: IntegrityCheck = IntegrityCheck()
    vacuum: Vacuum = Vacuum()
    health_report: HealthReport = HealthReport()


class Routes(Model):
    """Which channels hear of which severity."""

    info: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()


class Repeat(Model):
    """After how long an open alert is told again; acknowledged ones are not."""

    high: Duration = timedelta(hours=24)
    critical: Duration = timedelta(hours=1)


class Heartbeat(Model):
    """An outside dead-man's switch: it is pinged while all is as it should be, and alarms when it is not."""

    url: Secret | None = Field(
        None, description="Its URL (like Healthchecks'); https, or http to this machine.",
        examples=['{ credential = "heartbeat-url" }'],
    )  # fmt: skip
    every: Duration = timedelta(minutes=5)


class CheckPair(Model):
    """A pair of tables and the database that they are in; every one where it is not said."""

    pair: Pair
    database: str | None = None


class CheckOptions(Model):
    """The options of one check, and the pairs where it is one of pairs."""

    values: dict[str, Any] = {}
    pairs: tuple[CheckPair, ...] = ()


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Config(Model):
    """A whole configuration."""

    daemon: Daemon = Daemon()
    databases: dict[Name, Database] = Field(min_length=1)
    schedules: dict[str, Schedule] = {}
    governor: GovernorLimits = GovernorLimits()
    jobs: Jobs = Jobs()
    checks: dict[str, CheckOptions] = {}
    channels: dict[str, ChannelOptions] = {}
    routes: Routes = Routes()
    repeat: Repeat = Repeat()
    heartbeat: Heartbeat = Heartbeat()

    @property
    def timetable(self) -> Mapping[str, Schedule]:
        """The lists by their names, and the jobs with a schedule of their own by theirs."""
        own = {name: getattr(self.jobs, name).schedule for name in type(self.jobs).model_fields}
        return self.schedules | {
            name: Schedule(jobs=(name,), **dict(times)) for name, times in own.items() if times is not None
        }
