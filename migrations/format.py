"""The format of a migration: a folder of SQL files and `migration.toml`. Pure.

The name of a file says its phase, its order and how it runs:
`<phase>[.<nn>[_name]].sql | .notx.sql | .batch.sql`, `<phase>.check.sql`,
`<phase>.rollback[.notx].sql`, and `pre.check.sql`, `probe.old.sql`, `probe.new.sql`, `sample.sql`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain.options import Duration, Model
from migrations.statements import Statement
from postgres.identifiers import Relation, parse_name, parse_relation

FORMAT = 1
TOML = "migration.toml"
ID = re.compile(r"[0-9]{4}_[a-z0-9_]{1,60}")


class Phase(StrEnum):
    """The phases in their order; cleanup and purge wait for a person."""

    PREPARE = "prepare"
    DATA = "data"
    TIGHTEN = "tighten"
    CLEANUP = "cleanup"
    PURGE = "purge"


PHASES = tuple(Phase)
GATED = frozenset({Phase.CLEANUP, Phase.PURGE})
UNDONE_ALONE = frozenset({Phase.PREPARE, Phase.DATA, Phase.TIGHTEN})
"""Phases that are rolled back without being asked when one of their steps fails."""


class Kind(StrEnum):
    """The purpose of a file, and its mode."""

    TRANSACTION = "transaction"
    NOTX = "notx"
    BATCH = "batch"
    CHECK = "check"
    ROLLBACK = "rollback"
    ROLLBACK_NOTX = "rollback.notx"
    PROBE_OLD = "probe.old"
    PROBE_NEW = "probe.new"
    SAMPLE = "sample"


_WORK = re.compile(
    r"(?P<phase>prepare|data|tighten|cleanup|purge)(?:\.(?P<order>[0-9]{2})(?:_[a-z0-9_]{1,60})?)?"
    r"(?:\.(?P<kind>notx|batch))?\.sql"
)
_BESIDE = re.compile(
    r"(?P<phase>prepare|data|tighten|cleanup|purge)\.(?P<kind>check|rollback|rollback\.notx)\.sql"
)
_FIXED = {
    "pre.check.sql": Kind.CHECK,
    "probe.old.sql": Kind.PROBE_OLD,
    "probe.new.sql": Kind.PROBE_NEW,
    "sample.sql": Kind.SAMPLE,
}


@dataclass(frozen=True, slots=True)
class FileName:
    """The parts of a file's name; `phase` is None for the files of the whole migration."""

    kind: Kind
    phase: Phase | None = None
    order: str = ""


def parse_file_name(name: str) -> FileName | None:
    """Return what a name says; None if the format knows no such file."""
    if name in _FIXED:
        return FileName(_FIXED[name])
    if match := _BESIDE.fullmatch(name):
        return FileName(Kind(match["kind"]), Phase(match["phase"]))
    if match := _WORK.fullmatch(name):
        kind = Kind(match["kind"] or "transaction")
        return FileName(kind, Phase(match["phase"]), match["order"] or "")
    return None


def _relation(text: str) -> Relation:
    return parse_relation(text)


TableName = Annotated[str, AfterValidator(lambda text: str(_relation(text)))]
ColumnName = Annotated[str, AfterValidator(parse_name)]


class BatchOptions(Model):
    """The walk of one `.batch.sql` file along its table."""

    table: TableName = Field(description="The table, as schema.table.")
    key: ColumnName = Field(description="One unique NOT NULL column; :lo and :hi are its values.")
    target: Duration = Field(
        timedelta(milliseconds=200),
        gt=timedelta(0),
        le=timedelta(seconds=10),
        description="The duration that a batch is tuned to.",
    )
    pause: float = Field(0.2, ge=0, le=100, description="Rest after a batch, as its multiple.")


class Manifest(Model):
    """The file migration.toml."""

    format: int = FORMAT
    title: str = Field(min_length=1, max_length=200)
    type: Literal["schema", "data", "architecture", "configuration", "security"] = "schema"
    requires: tuple[str, ...] = ()
    owner: str = ""
    irreversible: tuple[Phase, ...] = ()
    archive: tuple[TableName, ...] = ()
    steps: dict[str, BatchOptions] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """One named query of a check or probe file."""

    name: str
    statement: str
    line: int
    same: bool = False
    """Whether its rows have to be equal before and after the phase, instead of none."""
    warn: bool = False
    once: bool = False
    """Whether it is too slow to be repeated under the locks of cleanup and purge."""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One SQL file, read."""

    name: str
    kind: Kind
    phase: Phase | None
    text: str
    statements: tuple[Statement, ...] = ()
    queries: tuple[Query, ...] = ()
    checksum: str = ""
    """Of its tokens and of the names of its queries."""

    @property
    def violations(self) -> tuple[Query, ...]:
        """Return the queries of violating rows, without those of equal values."""
        return tuple(one for one in self.queries if not one.same)


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration, read from its folder or from the ledger."""

    id: str
    manifest: Manifest
    files: Mapping[str, SqlFile] = field(repr=False)
    toml: str = field(repr=False)
    """The text of migration.toml."""

    @property
    def checksum(self) -> str:
        """Return the checksum of the whole: of every file, and of migration.toml by its values."""
        parts = [json.dumps(self.manifest.model_dump(mode="json"), sort_keys=True)]
        parts += [f"{name} {self.files[name].checksum}" for name in sorted(self.files)]
        return digest("\n".join(parts))

    def work(self, phase: Phase) -> list[SqlFile]:
        """Return the files that a phase runs, in their order."""
        kinds = {Kind.TRANSACTION, Kind.NOTX, Kind.BATCH}
        found = [one for one in self.files.values() if one.phase is phase and one.kind in kinds]
        return sorted(found, key=lambda one: (order_of(one.name), one.name))

    def phases(self) -> list[Phase]:
        """Return the phases that have files to run."""
        return [phase for phase in PHASES if self.work(phase)]

    def check(self, phase: Phase | None) -> SqlFile | None:
        """Return the check of a phase; of None, that of the time before."""
        return self.files.get(f"{phase.value}.check.sql" if phase else "pre.check.sql")

    def rollback(self, phase: Phase) -> SqlFile | None:
        """Return the rollback of a phase."""
        for kind in (Kind.ROLLBACK, Kind.ROLLBACK_NOTX):
            if found := self.files.get(f"{phase.value}.{kind.value}.sql"):
                return found
        return None

    def before(self, phase: Phase) -> Phase | None:
        """Return the phase before another; None for the first."""
        earlier = [one for one in self.phases() if PHASES.index(one) < PHASES.index(phase)]
        return earlier[-1] if earlier else None

    def archived(self) -> list[Relation]:
        """Return the tables whose rows are kept when a rollback drops them."""
        return [parse_relation(one) for one in self.manifest.archive]


def order_of(name: str) -> str:
    """Return the number in the name of a file; empty if it has none."""
    parsed = parse_file_name(name)
    return parsed.order if parsed else ""


def digest(text: str) -> str:
    """Return the SHA-256 of a text as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


_ANNOTATION = re.compile(
    r"^--[ \t]*@(?P<kind>check|same|probe)[ \t]+(?P<name>[A-Za-z0-9_]{1,63})"
    r"(?:[ \t]+(?P<more>\S.*?))?[ \t]*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A line like `-- @check name [warn] [once]`, with its place in the text."""

    kind: str
    name: str
    more: str
    line: int


def annotations(text: str) -> Iterator[Annotation]:
    """Yield the annotations of a check or probe file."""
    for match in _ANNOTATION.finditer(text):
        line = 1 + text.count("\n", 0, match.start())
        yield Annotation(match["kind"], match["name"], match["more"] or "", line)


def queries(
    marks: Iterable[Annotation], statements: Iterable[Statement]
) -> tuple[list[Query], list[tuple[int, str]]]:
    """Return the queries of a check or probe file, and the problems by line."""
    pending = list(marks)
    found: list[Query] = []
    problems: list[tuple[int, str]] = []
    for statement in statements:
        before = [mark for mark in pending if mark.line <= statement.line]
        if len(before) != 1:
            problems.append((statement.line, _unnamed(before)))
            pending = [mark for mark in pending if mark not in before]
            continue
        mark = before[0]
        pending.remove(mark)
        if wrong := _wrong_words(mark):
            problems.append((mark.line, wrong))
        if any(one.name == mark.name for one in found):
            problems.append((mark.line, f"the name {mark.name} occurs twice"))
        found.append(_query(mark, statement))
    problems += [(mark.line, f"@{mark.kind} {mark.name} has no statement") for mark in pending]
    return found, problems


def _wrong_words(mark: Annotation) -> str:
    words = set(mark.more.split())
    if words - {"warn", "once"} or (words and mark.kind != "check"):
        return f"{mark.more!r} is unknown; only @check may have `warn` or `once`"
    return ""


def _query(mark: Annotation, statement: Statement) -> Query:
    words = mark.more.split()
    flags = {"same": mark.kind == "same", "warn": "warn" in words, "once": "once" in words}
    return Query(mark.name, statement.text, statement.line, **flags)


def _unnamed(before: list[Annotation]) -> str:
    if not before:
        return "the statement has no name: write a line like `-- @check name` before it"
    return f"{len(before)} names for one statement: each needs a statement of its own"
