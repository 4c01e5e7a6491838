"""The job `disk_check`: bytes and inodes of the mounts that servers and sereno write to."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import Field

from checks import judge as judges
from checks.check import OptionValues
from checks.disk import CHECK, Folder
from domain.coverage import Coverage
from domain.finding import Finding
from domain.kinds import DISK_UNSEEN
from domain.memory import Measure, Memory
from domain.options import AbsolutePath, Model
from domain.place import Place
from domain.task import Scope
from execution.step import Evidence, Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from jobs.steps.check_step import HostCheckStep
from jobs.steps.measure_sizes import MeasureSizes
from postgres.identifiers import Relation
from postgres.session import Session, TargetError


class Options(Model):
    """Checks every mount that the server or sereno writes to."""

    folders: tuple[AbsolutePath, ...] = Field((), description="Further folders to examine.")


_FOLDERS = sql.SQL(
    """
    SELECT 'data directory' AS use, current_setting('data_directory', true) AS path
    UNION ALL SELECT 'WAL', current_setting('data_directory', true) || '/pg_wal'
    UNION ALL
    SELECT 'server log',
           CASE WHEN d LIKE '/%' THEN d ELSE current_setting('data_directory', true) || '/' || d END
    FROM current_setting('log_directory', true) d WHERE current_setting('logging_collector')::bool
    UNION ALL
    SELECT format('tablespace %I', spcname), pg_catalog.pg_tablespace_location(oid)
    FROM pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) <> ''
    """
)
_ADDRESS = sql.SQL("SELECT host(inet_server_addr()) AS address")


@dataclass(frozen=True, slots=True)
class Observation:
    """The folders and the thresholds of the check."""

    folders: Sequence[Folder]
    thresholds: OptionValues
    now: datetime
    before: Memory | None
    """The memory of the last look at the mounts."""


def observe(inputs: JobInputs) -> Observation | None:
    """Ask every server for its folders; a server that is down is named and hides nothing else.

    In the scope of a database nothing is read beforehand.
    """
    if inputs.session is not None:
        return None
    folders = [Folder("state", str(inputs.settings.state_folder))]
    folders += [Folder("configured folder", str(path)) for path in inputs.options.folders]
    for name in inputs.settings.databases():
        try:
            with inputs.open(name) as session:
                folders += _of_server(name, session)
        except (TargetError, psycopg.Error) as error:
            folders.append(
                Folder(
                    f"server of {name}",
                    "",
                    "the server cannot be asked: "
                    + str(error).splitlines()[0].removeprefix(f"{name}: "),
                )
            )
    thresholds = inputs.settings.checks["disk"].values_on(inputs.now.date())
    before = inputs.memory.get(CHECK.header.name)
    return Observation(list(dict.fromkeys(folders)), thresholds, inputs.now, before)


def _of_server(name: str, session: Session) -> Iterator[Folder]:
    address = session.rows(_ADDRESS)[0]["address"]
    if address is not None and not ipaddress.ip_address(address).is_loopback:
        yield Folder(
            f"server of {name}", "", f"it runs on another host ({address}): run a sereno there"
        )
        return
    try:
        rows = session.rows(_FOLDERS)
    except psycopg.errors.InsufficientPrivilege as error:
        yield Folder(f"server of {name}", "", f"{error.diag.message_primary} (needs pg_monitor)")
        return
    for row in rows:
        if row["path"] is None:
            yield Folder(
                f"{row['use']} of {name}", "", "the login may not see it (needs pg_monitor)"
            )
        else:
            yield Folder(row["use"], row["path"], _hidden(row["path"]))


def _hidden(path: str) -> str:
    try:
        Path(path).stat()
    except PermissionError:
        return _existing_parent(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _existing_parent(path: str) -> str:
    """Return the advice for a folder inside the data directory, whose mode is 0700."""
    return (
        f"only the server's user may look there (add {path} to disk_check.folders if it is a "
        "mount of its own)"
    )


def plan(seen: Observation | None) -> Sequence[Step]:
    """Plan one check for all folders of the host, or one measurement of a database."""
    if seen is None:
        return [MeasureSizes(why="stored to show growth")]
    options = {**seen.thresholds, "folders": tuple(seen.folders)}
    why = f"{len(seen.folders)} folders"
    return [
        HostCheckStep(
            object=CHECK.header.name,
            why=why,
            check=CHECK,
            options=options,
            text="statvfs of each mount",
            now=seen.now,
            before=seen.before,
        )
    ]


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge the mounts that were seen, and store sizes; unseen ones resolve nothing."""
    if outcome.status is not Status.DONE:
        return Verdict()
    if isinstance(step, MeasureSizes):
        return Verdict(measures=tuple(_size(row, place.database) for row in outcome.found))
    judged = judges.judge(CHECK.header, outcome.found, {}, Place(place.instance))
    objects: set[str] = set()
    measures: list[Measure] = []
    for row in outcome.found:
        if row["kind"] == "unseen":
            continue
        objects |= {str(row["object"]), *text_list(row.get("paths"))}
        if row["kind"] == "bytes":
            measures += _mount(row)
    mounts = tuple(Coverage(CHECK.header.name, object=name) for name in sorted(objects))
    findings = tuple(_named(one) for one in judged)
    return Verdict(findings, (*mounts, Coverage(DISK_UNSEEN.name)), tuple(measures))


def _size(row: Evidence, database: str) -> Measure:
    name, schema, relation, value = (row[key] for key in ("name", "schema", "relation", "value"))
    return Measure(
        str(name),
        database,
        str(Relation(str(schema), str(relation))) if relation else "",
        float(str(value)),
    )


def _mount(row: Evidence) -> Iterator[Measure]:
    total, free = (float(str(row[key])) for key in ("total_bytes", "free_bytes"))
    yield Measure("disk_bytes", "", str(row["object"]), total)
    yield Measure("disk_used_bytes", "", str(row["object"]), total - free)


def _named(finding: Finding) -> Finding:
    """Give a folder that could not be read a finding kind of its own."""
    if finding.value is not None:
        return finding
    return replace(finding, identity=replace(finding.identity, kind=DISK_UNSEEN.name), remedy="")


def text_list(value: object) -> list[str]:
    """Return the paths of a row."""
    if isinstance(value, list):
        return [str(item) for item in value]
    return []


JOB = Job(
    name="disk_check",
    summary="bytes and inodes of every mount that the server writes to; size of each database",
    scopes=(Scope.HOST, Scope.DATABASE),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
)
