"""The configuration as frozen models; the reference is generated from the descriptions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from alerts.channels.channel import ChannelOptions
from checks.options import CheckOptions
from checks.registry import SAME_TENANT, TENANT_RLS
from daemon.config.alerting import Alerting, Escalation
from daemon.config.daemon import Daemon
from daemon.config.fleet import Fleet
from daemon.config.jobs import MODELS, Jobs, Times
from daemon.config.migrations import MIGRATE, Migrations
from daemon.config.values import Conninfo
from daemon.config.web import Web
from domain.options import AbsolutePath, Duration, Model, Size
from domain.place import SEPARATOR, means
from domain.secret import Secret
from postgres.identifiers import split_names


def _search_path(text: str) -> str:
    split_names(text)
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Login(Model):
    """A role of the server."""

    user: str = Field(min_length=1, description="The role, as the catalog spells it.")
    password: Secret | None = Field(
        None, description="Its password, as { file }, { env } or { credential }."
    )


class MigrateLogin(Login):
    """The login of migrations, and the owner that it becomes."""

    role: str = Field(
        min_length=1, description="The owner of the tables, as the catalog spells it."
    )
    search_path: Annotated[str, AfterValidator(_search_path)] = Field(
        "public", description="The schemas of unqualified names, separated by commas."
    )


class Domain(Model):
    """A trust domain: owners that trust each other, and the logins that reach only their tables."""

    owners: tuple[str, ...] = Field(
        min_length=1, description="The roles that own the tables, as the catalog spells them."
    )
    data: Login | None = Field(None, description="As databases.<name>.data, for these owners.")
    owner: Login | None = Field(None, description="As databases.<name>.owner, for these owners.")


class Database(Model):
    """One database and the logins that work in it."""

    dsn: Conninfo = Field(
        description=(
            "conninfo or URI of the server itself, not of a pooler; passwords belong to the logins."
        ),
        repr=False,
    )
    maintain: Login | None = Field(
        None, description="Reads the catalog, and runs ANALYZE, VACUUM and REINDEX."
    )
    data: Login | None = Field(
        None,
        description="Reads the tables of one trust domain, and deletes rows of the listed ones.",
    )
    owner: Login | None = Field(
        None,
        description="A member of the tables' owners: detaches partitions and rebuilds indexes.",
    )
    migrate: MigrateLogin | None = Field(
        None,
        description="Changes tables by migrations: it becomes their owner for a transaction.",
    )
    domains: dict[Name, Domain] = Field(
        default_factory=dict,
        description="The trust domains, instead of data and owner, where owners of tables do not "
        "trust each other.",
    )
    tenant: str = Field(
        "",
        description="The column that tells the tenant: each foreign key between two tables that "
        "have it is a pair of checks.same_tenant.",
        examples=['"coop_id"'],
    )
    trust: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Lists of owners that trust each other: code of one may run with the rights "
        "of the others.",
        examples=['[["app", "audit"]]'],
    )
    tags: tuple[str, ...] = Field((), description="Tags that alert rules may match.")
    discover: str = Field(
        "",
        description='A pattern of LIKE, such as "coop_%": the entry stands for every database of '
        "the server whose name fits, each named ENTRY/DATABASE; the dsn is where to look.",
    )
    exclude: tuple[str, ...] = Field(
        (),
        alias="except",
        description='Patterns of databases that `discover` leaves out, such as ["coop_test%"].',
    )
    retire_after: Duration = Field(
        timedelta(days=2),
        description="A found database that is missing for this long is forgotten; its alerts end.",
    )
    at_once: int | None = Field(
        None,
        ge=2,
        le=100,
        description="How many sessions of runs may be in its server at once, those that hold "
        "locks included; the smallest of the server's databases. By default 4, or what "
        "jobs.vacuum.parallel needs. The looks every five minutes have one more.",
    )
    priority: int = Field(
        0, ge=-100, le=100, description="Databases with a greater one begin first."
    )
    allow_privileged_dml: bool = Field(
        default=False,
        description="Work on rows even with a login whose rights an owner's code could abuse.",
    )

    @model_validator(mode="after")
    def _separate(self) -> Self:
        """Require that no login and no owner belongs to two domains."""
        if self.domains and (self.data or self.owner):
            raise ValueError("give data and owner per domain, or no domains")
        if owner := _repeated(name for domain in self.domains.values() for name in domain.owners):
            raise ValueError(f"domains: the owner {owner!r} is listed twice")
        if user := _repeated(login.user for login in self.all_logins()):
            raise ValueError(f"{user!r} is used for two logins; each needs a role of its own")
        if self.maintain is None and any(self.all_logins()):
            raise ValueError("maintain is missing; it is needed beside the other logins")
        return self

    @model_validator(mode="after")
    def _discovers(self) -> Self:
        """Require a pattern, and that a single database has no option of a group."""
        if not self.discover and "discover" in self.model_fields_set:
            raise ValueError("discover is empty: leave it out, or give a pattern like coop_%")
        if not self.discover and self.model_fields_set & {"exclude", "retire_after"}:
            raise ValueError("except and retire_after need discover")
        return self

    def all_logins(self) -> Iterator[Login]:
        """Yield every configured login."""
        for login in (self.maintain, self.data, self.owner, self.migrate):
            if login is not None:
                yield login
        for domain in self.domains.values():
            for login in (domain.data, domain.owner):
                if login is not None:
                    yield login


def _repeated(names: Iterable[str]) -> str:
    """Return a name that occurs more than once; empty if there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


class Schedule(Times):
    """A list of jobs, its due times, and its window."""

    jobs: tuple[str, ...] = Field(min_length=1, description="The jobs, in this order.")


class GovernorLimits(Model):
    """Limits above which sereno pauses.

    Any single one pauses, as do waiting sessions and `sereno pause`.
    """

    flag_file: AbsolutePath | None = Field(None, description="Pause while this file exists.")
    replica_lag: Duration = Field(
        timedelta(seconds=10), description="Pause while a standby replays later than this."
    )
    replica_lag_size: Size = Field(
        64 * 1024**2, gt=0, description='Or lags by more than this (like "64 MB").'
    )
    archive_backlog: int = Field(
        100, ge=1, description="Pause while more WAL files wait for the archiver."
    )
    slot_retained: Size = Field(
        16 * 1024**3, gt=0, description="Pause while a replication slot retains more WAL."
    )
    free_disk: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Pause while less than this share of the data directory's mount is free.",
    )
    active_sessions: int | None = Field(
        None, ge=1, description="Pause while more sessions are active."
    )
    backups: bool = Field(
        default=True, description="Pause during a base backup, or a pg_dump of the database."
    )
    query: str = Field(
        "",
        description="Pause while this read-only query returns a reason in its first column.",
    )
    critical: float = Field(
        3.0,
        ge=1,
        description="A signal this many times over its limit also cancels statements in flight.",
    )
    pace: Literal["auto", "gentle", "full"] = Field(
        "auto",
        description="auto works gently while other sessions are active. Gentle: one session, "
        "pauses between batches, and VACUUM and ANALYZE with pauses of their own.",
    )
    patience: Duration = Field(
        timedelta(hours=1),
        description="The longest pause of a step; then the run ends as throttled.",
    )
    batch: Duration = Field(
        timedelta(milliseconds=200),
        le=timedelta(minutes=1),
        description="Target duration of one batch of rows.",
    )
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="Most rows per batch.")


class Routes(Model):
    """The channels of each severity."""

    info: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()


class Repeat(Model):
    """The interval at which open, unacknowledged alerts are repeated."""

    high: Duration = Field(timedelta(hours=24), ge=timedelta(minutes=1))
    critical: Duration = Field(timedelta(hours=1), ge=timedelta(minutes=1))


class Heartbeat(Model):
    """An external dead-man's switch, pinged while everything works."""

    url: Secret | None = Field(
        None, description="The URL (as of Healthchecks); https, or http to this machine.",
        examples=['{ credential = "heartbeat-url" }'],
    )  # fmt: skip
    every: Duration = timedelta(minutes=5)


class Watch(Model):
    """Cheap checks that run every five minutes, besides their runs at night."""

    checks: tuple[str, ...] = Field(
        (
            "archiving_fails",
            "connections_near_limit",
            "disk",
            "idle_in_transaction",
            "long_transaction",
            "replication_lag",
            "slot_retains_wal",
            "wraparound",
        ),
        description="Checks of the catalog or of the host; [] for none.",
    )


class Config(Model):
    """A whole configuration."""

    daemon: Daemon = Daemon()
    databases: dict[Name, Database] = Field(min_length=1)
    schedules: dict[str, Schedule] = Field(default_factory=dict)
    fleet: Fleet = Fleet()
    governor: GovernorLimits = GovernorLimits()
    jobs: Jobs = Jobs()
    checks: dict[str, CheckOptions] = Field(default_factory=dict)
    watch: Watch = Watch()
    channels: dict[str, ChannelOptions] = Field(default_factory=dict)
    routes: Routes = Routes()
    repeat: Repeat = Repeat()
    alerts: Alerting = Alerting()
    escalation: Escalation = Escalation()
    heartbeat: Heartbeat = Heartbeat()
    migrations: Migrations = Migrations()
    web: Web = Web()

    @property
    def timetable(self) -> Mapping[str, Schedule]:
        """Return the schedules by name, including those of single jobs."""
        own = {name: self.job(name).schedule for name in MODELS}
        return self.schedules | {
            name: Schedule(jobs=(name,), **dict(times))
            for name, times in own.items()
            if times is not None
        }

    def may_have(self, database: str) -> bool:
        """Return whether there is such a database or group, or a group that may find it."""
        group = self.databases.get(database.partition(SEPARATOR)[0])
        return database in self.databases or (group is not None and bool(group.discover))

    def has_pairs(self, check: str, database: str | None = None) -> bool:
        """Return whether a check has pairs in a database: declared, or made by a tenant's column.

        None is any database.
        """
        places = [database] if database else list(self.databases)
        tenants = [
            name for name in places if name in self.databases and self.databases[name].tenant
        ]
        declared = [
            one
            for one in self.checks[check].pairs
            if any(means(one.database, place) for place in places)
        ]
        return bool(declared) or (check == SAME_TENANT and bool(tenants))

    def declares_tenant(self, database: str | None = None) -> bool:
        """Return whether a database, or any, has a tenant for the check of row-level security."""
        places = [database] if database else list(self.databases)
        tenants = [one.tenant for name, one in self.databases.items() if name in places]
        return bool(self.checks[TENANT_RLS].values["tenant"]) or any(tenants)

    def job(self, name: str) -> Any:  # noqa: ANN401 - each job has its own model
        """Return the options of a job, an instance of its own model and of JobOptions.

        Those of the job `migrate` are the section [migrations].
        """
        return self.migrations if name == MIGRATE else getattr(self.jobs, name)
