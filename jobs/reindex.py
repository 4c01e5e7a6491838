"""The index steps of the job `vacuum`: invalid indexes rebuilt or dropped, bloated ones rebuilt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql
from pydantic import Field

from domain.cause import Cause
from domain.memory import Memory
from domain.options import Model, Size
from execution.skipped import SkippedStep
from execution.step import Step
from jobs.job import JobInputs
from jobs.steps.rebuild_index import BloatLimits, DropInvalidIndex, RebuildIndex
from jobs.steps.statement import Skip
from jobs.table_statistics import predict_seconds, seconds_per_byte
from postgres.catalog import index_bloat
from postgres.catalog.index_bloat import IndexBloat
from postgres.identifiers import Relation
from postgres.session import MAINTAIN, Login
from postgres.statement_file import read_statement
from postgres.table_patterns import TableSelection


class Options(Model):
    """Rebuilds indexes CONCURRENTLY after VACUUM, one at a time."""

    invalid: bool = Field(
        default=True,
        description="Rebuild invalid indexes, and drop those left by an interrupted rebuild.",
    )
    bloated: bool = Field(
        default=False,
        description="Rebuild B-trees whose wasted size and share exceed these limits.",
    )
    wasted: Size = Field(
        100 * 1024**2,
        gt=0,
        description="Wasted bytes; estimated, then measured if pgstattuple is installed.",
    )
    share: float = Field(0.5, gt=0, lt=1, description="Wasted share of the index size.")
    unseen_disk: bool = Field(
        default=False,
        description="Rebuild although the free disk cannot be read (twice the size is needed).",
    )


NOT_OWNED = "no privilege to drop the index left by a failed rebuild: "
UNSEEN = "no privilege: index bloat is estimated from pg_statistic; sereno install grants it"
UNSAFE = (
    "PostgreSQL 14.0 to 14.3 can corrupt an index rebuilt CONCURRENTLY: update the server first"
)
EXCLUSION = "an exclusion constraint's index needs an exclusive lock: run REINDEX INDEX by hand"
NO_LIMITS = BloatLimits(0, 0.0)
GROWN = 1.1
"""An index found sound or rebuilt is examined again after growing by this factor."""

_BROKEN = read_statement("jobs", "broken_indexes")
_DATA_DIRECTORY = sql.SQL(
    """
    SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                THEN current_setting('data_directory', true) END AS path
    """
)
_UNSAFE = range(140000, 140004)


@dataclass(frozen=True, slots=True)
class InvalidIndex:
    """An invalid index."""

    oid: int
    index: Relation
    table: Relation
    bytes: int
    exclusion: bool
    live: bool
    """False if a DROP INDEX CONCURRENTLY was interrupted."""
    leftover: bool
    busy: int | None
    """The pid of a session that may be building it."""
    owned: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Indexes:
    """The indexes of a database that need work."""

    broken: Sequence[InvalidIndex] = ()
    bloated: Sequence[IndexBloat] | None = ()
    """None if the estimate is not permitted."""
    limits: BloatLimits = NO_LIMITS
    memory: Mapping[str, Memory] = field(default_factory=dict)
    version: int = 0
    logins: Mapping[str, tuple[Login, str]] = field(default_factory=dict)
    """By owner the login that may drop its indexes, or the reason why there is none."""
    data_directory: str | None = None
    """None if the login may not see it."""


def read_indexes(inputs: JobInputs, selection: TableSelection, wanted: Options) -> Indexes:
    """Read invalid and bloated indexes from the catalog; takes no lock on any index."""
    session = inputs.opened
    broken: Sequence[InvalidIndex] = ()
    bloated: Sequence[IndexBloat] | None = ()
    if wanted.invalid:
        broken = [_broken(row) for row in session.rows(_BROKEN)]
    if wanted.bloated:
        bloated = (
            index_bloat.estimate_bloat(session, wanted.wasted)
            if index_bloat.can_estimate(session)
            else None
        )
    broken = [one for one in broken if selection.includes_table(one.table)]
    bloated = bloated and [one for one in bloated if selection.includes_table(one.table)]
    return Indexes(
        broken,
        bloated,
        BloatLimits(wanted.wasted, wanted.share, wanted.unseen_disk),
        inputs.memory,
        session.facts.version,
        _logins(inputs, broken) | _logins(inputs, bloated or ()),
        session.rows(_DATA_DIRECTORY)[0]["path"],
    )


def plan(seen: Indexes) -> Iterator[Step]:
    """Plan drops of leftovers first, then invalid indexes, then bloated ones by wasted space."""
    speed = seconds_per_byte(one for one in seen.memory.values() if "index" in one.evidence)
    for one in seen.broken:
        yield _repair(seen, one, speed)
    if seen.bloated is None:
        yield SkippedStep(
            name="reindex", object="bloated indexes", why=UNSEEN, cause=Cause.NO_PRIVILEGE
        )
    for found in sorted(seen.bloated or (), key=lambda one: (-one.wasted, one.index)):
        if _bloated(found, seen):
            why = (
                f"{found.wasted / 1e6:.0f} MB of {found.bytes / 1e6:.0f} MB wasted, "
                f"{found.share:.0%}, by estimate"
            )
            login, not_owned = _login(seen, found)
            skip = not_owned or _unsafe(seen)
            long = _long(seen, found.index, found.bytes, speed)
            yield RebuildIndex(
                object=str(found.index),
                why=why,
                index=found.index,
                table=found.table,
                bloated=found,
                limits=seen.limits,
                data_directory=seen.data_directory,
                skip=skip,
                logins=(login,),
                **long,
            )


def _repair(seen: Indexes, one: InvalidIndex, speed: float) -> Step:
    """Return the step for an invalid index: drop a leftover, rebuild any other."""
    name, what = str(one.index), f"invalid, on {one.table}"
    building = ""
    if one.busy:
        building = f"; pid {one.busy} holds a lock on its table and may be building it"
    login, not_owned = _login(seen, one)
    if one.leftover or not one.live:
        of = "(by name and definition) a rebuild" if one.live else "a drop"
        why = f"{what}: left by {of} that was interrupted{building}"
        return DropInvalidIndex(
            object=name, why=why, index=one.index, skip=not_owned, logins=(login,)
        )
    skip = not_owned or _unsafe(seen)
    if one.exclusion:
        skip = Skip(Cause.REFUSED, EXCLUSION)
    long = _long(seen, one.index, one.bytes, speed)
    why = f"{what}: no query uses it{building}"
    return RebuildIndex(
        object=name,
        why=why,
        index=one.index,
        table=one.table,
        data_directory=seen.data_directory,
        skip=skip,
        logins=(login,),
        **long,
    )


def _logins(
    inputs: JobInputs, indexes: Sequence[InvalidIndex] | Sequence[IndexBloat]
) -> dict[str, tuple[Login, str]]:
    strangers = {one.owner for one in indexes if not one.owned}
    return {owner: inputs.trust_domains.owner_login(owner) for owner in strangers}


def _login(seen: Indexes, index: InvalidIndex | IndexBloat) -> tuple[Login, Skip | None]:
    """Return the login that may drop an index, or why there is none."""
    if index.owned:
        return MAINTAIN, None
    login, wrong = seen.logins[index.owner]
    if wrong:
        return MAINTAIN, Skip(Cause.NO_PRIVILEGE, NOT_OWNED + wrong)
    return login, None


def _bloated(found: IndexBloat, seen: Indexes) -> bool:
    """Return whether an index exceeds both limits and has grown since it was last examined."""
    before = seen.memory.get(str(found.index))
    known = 0
    if before:
        known = int(before.evidence.get("now", 0))
    enough = found.wasted >= seen.limits.wasted and found.share >= seen.limits.share
    return enough and found.bytes > GROWN * known


def _unsafe(seen: Indexes) -> Skip | None:
    if seen.version in _UNSAFE:
        return Skip(Cause.REFUSED, UNSAFE)
    return None


def _long(seen: Indexes, index: Relation, size: int, speed: float) -> dict[str, Any]:
    before = seen.memory.get(str(index))
    if before and before.evidence.get("looked"):
        before = None
    return {
        "bytes": size,
        "predicted_seconds": predict_seconds(before, size, speed),
        "has_history": before is not None,
    }


def _broken(row: dict[str, Any]) -> InvalidIndex:
    index = Relation(row.pop("schema"), row.pop("name"))
    return InvalidIndex(
        index=index, table=Relation(row.pop("table_schema"), row.pop("table_name")), **row
    )
