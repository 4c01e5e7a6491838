"""The options of the jobs as frozen models, each field with its one sentence; and what every table is made of."""

from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from alerts.secret import Secret
from archive.folder import check_path
from daemon.config.values import (
    Column,
    Condition,
    CronText,
    Destination,
    Duration,
    Retention,
    Size,
    Table,
    TablePattern,
)
from postgres.selection import Selection

Epoch = Literal["s", "ms", "us"]


class Model(BaseModel):
    """Frozen, and knows no key that is not its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


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


class ExpiringTable(Model):
    """Rows of a table that expire by age."""

    table: Table = Field(description="As in SQL, with its schema.")
    column: Column = Field(description="Its age: date, timestamp, timestamptz, uuid (v7), or an integer (see epoch).")
    epoch: Epoch | None = Field(None, description="What an integer counts since 1970.")
    keep: Retention = Field(description="Older rows are deleted.")
    where: Condition | None = Field(None, description="Only where this holds, in SQL; functions with their schema.")
    partitions: Literal["rows", "drop"] = Field(
        "rows", description="What has expired leaves row by row; or partitions as a whole: detached, then dropped."
    )
    database: str | None = Field(None, description="Which database it is in; every one where it is not said.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.partitions != "rows" and self.where is not None:
            raise ValueError('a whole partition leaves, whatever `where` says: leave it out, or partitions = "rows"')
        return self


class ArchivedTable(Model):
    """Rows of a table that are archived when they are old."""

    table: Table = Field(description="As in SQL, with its schema.")
    column: Column = Field(description="Its age, as in [[jobs.log_cleanup.tables]].")
    epoch: Epoch | None = Field(None, description="What an integer counts since 1970.")
    older_than: Retention = Field(description="Older rows are archived.")
    where: Condition | None = Field(None, description="Only where this holds, as in [[jobs.log_cleanup.tables]].")
    children: tuple[Table, ...] = Field(
        (), description="Tables whose rows leave with those that they refer to by foreign key, in one transaction."
    )
    to: Destination = Field(description="A folder (file://…), or a table of the same database (table:schema.name).")
    keep: Retention | None = Field(
        None, description="A file leaves the archive when its last batch was archived so long ago; never if not said."
    )
    hold: bool = Field(default=False, description="Legal hold: nothing leaves the archive, whatever `keep` says.")
    key: Literal["ctid"] | None = Field(
        None, description='"ctid" archives a table though no unique key tells its rows apart.'
    )
    partitions: Literal["rows", "detach", "drop"] = Field(
        "rows",
        description="What is old leaves row by row; or partitions as a whole: detached, then archived; or dropped then "
        "as well.",
    )
    database: str | None = Field(None, description="Which database it is in; every one where it is not said.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.partitions != "rows" and self.where is not None:
            raise ValueError('a whole partition leaves, whatever `where` says: leave it out, or partitions = "rows"')
        if self.partitions != "rows" and self.to.table:
            raise ValueError('whole partitions go to files only: to = "file://…", or partitions = "rows"')
        if self.to.table and self.keep is not None:
            raise ValueError(f"keep is for files; list {self.to.table} in jobs.log_cleanup.tables instead")
        if self.children and (self.to.table or self.partitions != "rows"):
            raise ValueError('children go to files only, and row by row: to = "file://…", partitions = "rows"')
        return self


class ExpiringFiles(Model):
    """Files of one folder that expire by age, or by their size together."""

    path: Annotated[str, AfterValidator(check_path)] = Field(
        description="A folder and a pattern for names in it; folders below are left alone."
    )
    keep: Retention | None = Field(None, description="Older files (by the later of mtime and ctime) are deleted.")
    total: Size | None = Field(
        None, gt=0, description="The oldest are deleted until the rest is no larger; none of the last hour."
    )
    compress: Retention | None = Field(None, description="Older files are compressed (gzip) where they lie.")
    owner: str | None = Field(None, description="Only files of this user; of any where it is not said.")
    keep_newest: int = Field(2, ge=1, description="This many stay, however old.")
    most_files: int = Field(1000, ge=1, description="The most that one run deletes; the rest next time.")
    most_share: float = Field(
        0.9, gt=0, le=1, description="More than this share of the files never expires by age at once."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.keep is None and self.total is None and self.compress is None:
            raise ValueError('says nothing: give keep = "30 days", total = "10 GB" or compress = "2 days"')
        if self.keep is not None and self.compress is not None and self.compress >= self.keep:
            raise ValueError("compress: files that old are deleted already (keep)")
        return self


class JobOptions(Model):
    """What every job may have."""

    schedule: Times | None = Field(None, description="A schedule of its own, beside the lists that name it.")


class LogCleanup(JobOptions):
    """Expired rows of log tables and expired log files."""

    tables: tuple[ExpiringTable, ...] = ()
    files: tuple[ExpiringFiles, ...] = ()


class Archive(JobOptions):
    """Old rows that move to files, or to other tables."""

    tables: tuple[ArchivedTable, ...] = ()

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        """Entries whose rows stand in the same files keep them for the same time: a file leaves as a whole."""
        for one, other in combinations(self.tables, 2):
            shared = {one.table, *one.children} & {other.table, *other.children}
            apart = None not in {one.database, other.database} and one.database != other.database
            if shared and not apart and one.to == other.to and (one.keep, one.hold) != (other.keep, other.hold):
                table = min(map(str, shared))
                cure = "give both entries the same keep and hold, or another place"
                raise ValueError(f"tables: rows of {table} go to the same files twice; {cure}")
        return self


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


class Reindex(Model):
    """After VACUUM: indexes rebuilt CONCURRENTLY, one at a time."""

    invalid: bool = Field(default=True, description="Rebuild invalid ones, and drop what a broken rebuild has left.")
    bloated: bool = Field(default=False, description="Rebuild B-trees that waste as much as this, and this share.")
    wasted: Size = Field(100 * 1024**2, gt=0, description="Estimated, then measured if pgstattuple is installed.")
    share: float = Field(0.5, gt=0, lt=1, description="Of its size.")
    unseen_disk: bool = Field(
        default=False, description="Also where the free disk cannot be seen (twice the size is needed)."
    )


class Vacuum(TableJob):
    """VACUUM where a table's own effective trigger asks for it; wraparound first; then indexes."""

    parallel: int = Field(2, ge=1, le=16, description="How many sessions vacuum side by side in one database.")
    reindex: Reindex = Reindex()


class HealthReport(JobOptions):
    """The letter of the week: what needs you, what changed, the nights, growth, next week."""

    channels: tuple[str, ...] = Field((), description="Who gets it; every email channel where none is named.")
    folder: Path | None = Field(None, description="Where its pages are kept; `reports` beside the state file.")


class Jobs(Model):
    """What each job works on."""

    log_cleanup: LogCleanup = LogCleanup()
    archive: Archive = Archive()
    analyze: Analyze = Analyze()
    disk_check: DiskCheck = DiskCheck()
    integrity_check: IntegrityCheck = IntegrityCheck()
    vacuum: Vacuum = Vacuum()
    health_report: HealthReport = HealthReport()
