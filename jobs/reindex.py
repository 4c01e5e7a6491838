"""The indexes that need something, for the job that vacuums: left-overs dropped, invalid and bloated ones rebuilt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from psycopg import sql
from pydantic import Field

from domain.memory import Memory
from execution.skipped import Refusal
from execution.step import Step
from jobs.job import JobInputs
from jobs.option_types import Model, Size
from jobs.steps.rebuild_index import Leftover, Limits, Rebuild
from jobs.table_statistics import predicted, rate
from postgres.catalog import index_bloat
from postgres.catalog.index_bloat import Bloat
from postgres.identifiers import Relation
from postgres.table_patterns import Selection


class Options(Model):
    """After VACUUM: indexes rebuilt CONCURRENTLY, one at a time."""

    invalid: bool = Field(default=True, description="Rebuild invalid ones, and drop what a broken rebuild has left.")
    bloated: bool = Field(default=False, description="Rebuild B-trees that waste as much as this, and this share.")
    wasted: Size = Field(100 * 1024**2, gt=0, description="Estimated, then measured if pgstattuple is installed.")
    share: float = Field(0.5, gt=0, lt=1, description="Of its size.")
    unseen_disk: bool = Field(
        default=False, description="Also where the free disk cannot be seen (twice the size is needed)."
    )


NOT_OWNED = "no privilege: needs membership in the table's owner, to drop what a rebuild that fails would leave"
UNSEEN = "no privilege: how bloated indexes are only a member of pg_read_all_data may see"
UNSAFE = "PostgreSQL 14.0 to 14.3 can corrupt an index that is rebuilt CONCURRENTLY: update it first"
EXCLUSION = "the index of an exclusion constraint can only be rebuilt under an exclusive lock: REINDEX INDEX it by hand"
NO_LIMITS = Limits(0, 0.0)
GROWN = 1.1
"""One that was found sound, or rebuilt, is looked at again when it has grown so much."""

_BROKEN = (resources.files("jobs") / "sql" / "broken_indexes.sql").read_text("utf-8")
_UNSAFE = range(140000, 140004)


@dataclass(frozen=True, slots=True)
class Broken:
    """An index that is not valid."""

    oid: int
    index: Relation
    table: Relation
    bytes: int
    exclusion: bool
    live: bool
    """Else a DROP INDEX CONCURRENTLY was broken off."""
    leftover: bool
    busy: int | None
    """The pid of somebody who may be building it."""
    owned: bool


@dataclass(frozen=True, slots=True)
class Indexes:
    """What was seen of a database's indexes, and what of it is wished to be mended."""

    broken: Sequence[Broken] = ()
    bloated: Sequence[Bloat] | None = ()
    """None: it cannot be seen."""
    limits: Limits = NO_LIMITS
    memory: Mapping[str, Memory] = field(default_factory=dict)
    version: int = 0


def look(inputs: JobInputs, selection: Selection, wishes: Options) -> Indexes:
    """Read the catalog; take no lock on any index."""
    session = inputs.opened
    broken: Sequence[Broken] = ()
    bloated: Sequence[Bloat] | None = ()
    if wishes.invalid:
        broken = [_broken(row) for row in session.rows(sql.SQL(_BROKEN))]
    if wishes.bloated:
        bloated = index_bloat.estimates(session, wishes.wasted) if index_bloat.sees(session) else None
    return Indexes(
        [one for one in broken if selection.chooses(one.table)],
        bloated and [one for one in bloated if selection.chooses(one.table)],
        Limits(wishes.wasted, wishes.share, wishes.unseen_disk),
        inputs.memory,
        session.facts.version,
    )


def plan(seen: Indexes) -> Iterator[Step]:
    """Left-overs first, then what is invalid, then by what a rebuild gives back."""
    speed = rate(one for one in seen.memory.values() if "index" in one.evidence)
    for one in seen.broken:
        what = f"invalid, on {one.table}"
        building = f"; pid {one.busy} has a lock on its table, and may be building it" if one.busy else ""
        owned = "" if one.owned else NOT_OWNED
        if one.leftover or not one.live:
            of = "a drop" if not one.live else "by its name and shape a rebuild"
            yield Leftover(one.index, f"{what}: {of} that was broken off has left it{building}", owned)
            continue
        refused = EXCLUSION if one.exclusion else owned or _unsafe(seen)
        why, long = f"{what}: no query uses it{building}", _long(seen, one.index, one.bytes, speed)
        yield Rebuild(one.index, one.table, why, refused=refused, **long)
    if seen.bloated is None:
        yield Refusal("reindex", "bloated indexes", UNSEEN, unseen=True)
    for found in sorted(seen.bloated or (), key=lambda one: (-one.wasted, one.index)):
        if _bloated(found, seen):
            why = f"{found.wasted / 1e6:.0f} MB of {found.bytes / 1e6:.0f} MB wasted, {found.share:.0%}, by estimate"
            refused = _unsafe(seen) if found.owned else NOT_OWNED
            long = _long(seen, found.index, found.bytes, speed)
            yield Rebuild(found.index, found.table, why, found, seen.limits, refused, **long)


def _bloated(found: Bloat, seen: Indexes) -> bool:
    """Say whether it is over both limits; not what was looked at, unless it has grown since."""
    before = seen.memory.get(str(found.index))
    known = int(before.evidence.get("now", 0)) if before else 0
    enough = found.wasted >= seen.limits.wasted and found.share >= seen.limits.share
    return enough and found.bytes > GROWN * known


def _unsafe(seen: Indexes) -> str:
    return UNSAFE if seen.version in _UNSAFE else ""


def _long(seen: Indexes, index: Relation, size: int, speed: float) -> dict[str, Any]:
    before = seen.memory.get(str(index))
    if before and before.evidence.get("looked"):
        before = None
    return {"bytes": size, "predicted_seconds": predicted(before, size, speed), "sure": before is not None}


def _broken(row: dict[str, Any]) -> Broken:
    index = Relation(row.pop("schema"), row.pop("name"))
    return Broken(index=index, table=Relation(row.pop("table_schema"), row.pop("table_name")), **row)
