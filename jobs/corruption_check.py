"""The job `corruption_check`: verifies indexes and tables with amcheck, the oldest proof first.

A night verifies what fits its budget; the memory of each object says when it was last sound. A
large table is verified in ranges of blocks, each with a proof of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from checks import judge as judges
from checks.corruption import (
    HEADERS,
    OVERDUE,
    OVERDUE_DAYS,
    Amcheck,
    Blocks,
    Provable,
    read_amcheck,
    read_provable,
    verification,
)
from domain.cause import Cause
from domain.coverage import Coverage
from domain.memory import Measure, Memory
from domain.options import Duration, Model
from domain.place import Place
from domain.task import Scope
from execution.control import StepControl
from execution.skipped import SkippedStep
from execution.step import Evidence, HostStep, Outcome, Status, Step
from jobs.job import Job, JobInputs, Settings, Verdict
from jobs.steps.verify_object import VerifyGroup, VerifyObject

RANGE_PAGES = 524_288
"""Pages of a table verified by one step: 4 GiB."""
SECONDS_PER_ROW, PAGES_PER_SECOND = 4.5e-6, 10_000.0
"""Measured: a row looked up in an index, and pages of an index read in order."""
HEAP_PAGES_PER_SECOND = 25_000.0
MARGIN = 1.2
NEVER = datetime.min.replace(tzinfo=UTC)
LANES = 2
SHORT_SECONDS, GROUP = 0.01, 50
"""Objects that take no longer are verified by one statement, at most so many."""
MOST_UNPROVEN = 10_000
"""Objects without a proof whose first night is kept; later ones are counted when these are done."""


class Options(Model):
    """Verifies indexes and tables with amcheck, the oldest proof first."""

    budget: Duration = Field(
        timedelta(minutes=30), description="Time to spend in one night on one database."
    )
    every: Duration = Field(
        timedelta(days=7), description="A sound object is verified again after this time."
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """An object, or a range of blocks of a large table, and its last proof."""

    proof: Provable
    name: str
    blocks: Blocks = field(default_factory=Blocks)
    before: Memory | None = None

    @property
    def proven_at(self) -> datetime:
        """Return when it was last sound; NEVER for another file, or a damaged object."""
        before = self.before
        if before is None or before.evidence.get("filenode") != self.proof.filenode:
            return NEVER
        if before.evidence.get("damaged"):
            return NEVER
        return before.at or NEVER

    @property
    def damaged(self) -> bool:
        """Return whether the last look found damage."""
        return self.before is not None and bool(self.before.evidence.get("damaged"))

    @property
    def pages(self) -> int:
        """Return the pages to read."""
        return max(0, min(self.proof.pages - self.blocks.first, RANGE_PAGES))

    def seconds(self, *, all_rows: bool = True) -> float:
        """Return the predicted duration, from the last look or from rows and pages."""
        before = self.before
        same = self.proof.kind != "btree" or (
            before is not None and before.evidence.get("all_rows", True) == all_rows
        )
        if before is not None and same:
            return before.seconds * MARGIN
        if self.proof.kind == "heap":
            return self.pages / HEAP_PAGES_PER_SECOND
        rows = self.proof.heap_rows * SECONDS_PER_ROW if all_rows else 0.0
        return rows + self.proof.pages / PAGES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Observation:
    """The objects that can be verified, the memory of earlier looks, and the time now."""

    amcheck: Amcheck
    objects: Sequence[Provable]
    memory: Mapping[str, Memory]
    now: datetime
    options: Options = field(default_factory=Options)
    lanes: int = 1


def observe(inputs: JobInputs) -> Observation:
    """Read the functions of amcheck and the objects from the catalog."""
    session = inputs.opened
    amcheck = read_amcheck(session)
    objects = read_provable(session, amcheck.kinds)
    sessions = lanes(inputs.options, inputs.settings)
    return Observation(amcheck, objects, inputs.memory, inputs.now, inputs.options, sessions)


def pieces(seen: Observation) -> Iterator[Piece]:
    """Yield each object; of a large table, each range of blocks.

    The first range has the table's name: a table that grows keeps its history and its alert.
    """
    for proof in seen.objects:
        name = str(proof.relation)
        ranges = -(-proof.pages // RANGE_PAGES) if proof.kind == "heap" else 1
        if ranges <= 1:
            yield Piece(proof, name, before=seen.memory.get(name))
            continue
        for number in range(ranges):
            first = number * RANGE_PAGES
            last = None if number == ranges - 1 else first + RANGE_PAGES - 1
            part = f"{name} blocks {first} to {first + RANGE_PAGES - 1}" if number else name
            yield Piece(proof, part, Blocks(first, last), seen.memory.get(part))


def plan(seen: Observation) -> Sequence[Step]:
    """Plan damaged objects, then the unproven, then the oldest proofs, within the budget.

    What is planned runs longest first, so that both sessions end at about the same time.
    """
    every, known, tried = seen.options.every, list(pieces(seen)), set(_kept(seen).get("tried", ()))
    due = sorted(
        (one for one in known if one.proven_at < seen.now - every),
        key=lambda one: (
            not one.damaged,
            one.name in tried,  # it may never end: others are not to wait for it
            one.proven_at,
            not one.proof.is_unique,
            one.seconds(),
            one.name,
        ),
    )
    chosen = sorted(
        _within_budget(due, seen), key=lambda step: (not step.damaged, -step.predicted_seconds)
    )
    steps: list[Step] = [*_grouped(chosen)]
    if seen.amcheck.missing:
        steps.append(_skipped(seen.amcheck.missing))
    planned = {one.object for step in steps for one in step.parts()}
    return [*steps, _count_proofs(seen, known, planned)]


def _within_budget(due: Sequence[Piece], seen: Observation) -> Iterator[VerifyObject]:
    """Yield steps up to the budget, the first whatever it costs; the rest waits for its turn."""
    budget, spent = seen.options.budget.total_seconds(), 0.0
    for number, piece in enumerate(due):
        # every row of a very large table cannot be looked up in a night
        all_rows = piece.seconds() <= budget
        seconds = piece.seconds(all_rows=all_rows)
        if number and spent + seconds > budget * seen.lanes:
            return
        spent += seconds
        why = "never proven"
        if piece.damaged:
            why = "damaged at the last look"
        elif piece.proven_at > NEVER:
            why = f"proven {(seen.now - piece.proven_at).days} days ago"
        yield VerifyObject(
            object=piece.name,
            why=why,
            proof=piece.proof,
            blocks=piece.blocks,
            question=verification(piece.proof, seen.amcheck, piece.blocks, all_rows=all_rows),
            all_rows=all_rows,
            damaged=piece.damaged,
            predicted_seconds=seconds,
            has_history=piece.before is not None,
        )


def _grouped(steps: Sequence[VerifyObject]) -> Iterator[Step]:
    """Yield the steps, the short ones of each kind in groups."""
    short: dict[bool, list[VerifyObject]] = {True: [], False: []}
    for step in steps:
        if step.damaged or step.predicted_seconds > SHORT_SECONDS:
            yield step
        else:
            short[step.proof.kind == "heap"].append(step)
    for some in short.values():
        for first in range(0, len(some), GROUP):
            members = some[first : first + GROUP]
            yield VerifyGroup.of(members) if len(members) > 1 else members[0]


def _skipped(why: str) -> Step:
    return SkippedStep(name="verify", object="indexes and tables", why=why, cause=Cause.NOT_SEEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountProofs(HostStep):
    """Counts the proofs as of the beginning of the run, and tells which are overdue."""

    counts: Mapping[str, float]
    """Objects, proven objects, and the age in days of the oldest proof."""
    overdue: tuple[Evidence, ...]
    dropped: tuple[Coverage, ...]
    """The findings about damaged objects that no longer exist."""
    kept: Evidence
    """What the next run has to know: `unproven` (since when) and `tried` (overdue, planned)."""
    name: str = "count"
    object: str = "proofs"
    alone: bool = True

    def statement(self) -> str:
        """Return a comment: it runs no statement."""
        return "-- from the history of this job"

    def apply(self, _control: StepControl) -> Outcome:
        """Return the row about overdue proofs, if any."""
        return Outcome(Status.DONE, found=self.overdue, evidence=self.kept)


def _counts(seen: Observation, known: Sequence[Piece]) -> Mapping[str, float]:
    proven = [one.proven_at for one in known if one.proven_at > NEVER]
    return {
        "proofs_wanted": float(len(known)),
        "proofs": float(len(proven)),
        "oldest_proof_days": (seen.now - min(proven, default=seen.now)) / timedelta(days=1),
    }


def _dropped(seen: Observation, known: Sequence[Piece]) -> Iterator[Coverage]:
    """Yield the findings about damaged objects that no longer exist.

    Objects of a kind that cannot be verified tonight are not listed: nothing is known of them.
    """
    names = {one.name for one in known}
    for name, memory in seen.memory.items():
        kind = memory.evidence.get("kind")
        if memory.evidence.get("damaged") and name not in names and kind in seen.amcheck.kinds:
            yield Coverage(HEADERS[kind].name, object=name)


def _kept(seen: Observation) -> Mapping[str, Any]:
    """Return what the last run kept about the proofs."""
    before = seen.memory.get("proofs")
    return before.evidence if before is not None else {}


def _count_proofs(seen: Observation, known: Sequence[Piece], planned: set[str]) -> Step:
    """Return the step that counts the proofs, and keeps who waits for one.

    A run renews what it plans: that is overdue only if an earlier run planned it in vain.
    """
    earlier = _kept(seen)
    unproven = _unproven_since(known, earlier.get("unproven", {}), seen.now)
    late = _late(known, unproven, seen.now)
    tried = set(earlier.get("tried", ()))
    told = {name: days for name, days in late.items() if name not in planned or name in tried}
    kept = {
        "unproven": {name: at.isoformat() for name, at in unproven.items()},
        "tried": sorted(name for name in late if name in planned)[:MOST_UNPROVEN],
    }
    return CountProofs(
        counts=_counts(seen, known),
        overdue=tuple(_overdue(told, len(known))),
        dropped=tuple(_dropped(seen, known)),
        kept=kept,
    )


def _late(
    known: Sequence[Piece], unproven: Mapping[str, datetime], now: datetime
) -> Mapping[str, int]:
    """Return the objects whose proof is overdue, and its age in days."""
    since = {
        one.name: unproven.get(one.name, now) if one.proven_at == NEVER else one.proven_at
        for one in known
    }
    ages = {name: (now - at).days for name, at in since.items()}
    return {name: days for name, days in ages.items() if days >= OVERDUE_DAYS["warning"]}


def _unproven_since(
    known: Sequence[Piece], earlier: Mapping[str, str], now: datetime
) -> Mapping[str, datetime]:
    """Return since when the objects without a proof have been waiting for one."""
    since = {
        one.name: datetime.fromisoformat(earlier[one.name]) if one.name in earlier else now
        for one in known
        if one.proven_at == NEVER
    }
    return dict(sorted(since.items(), key=lambda item: (item[1], item[0]))[:MOST_UNPROVEN])


def _overdue(late: Mapping[str, int], wanted: int) -> Iterator[Evidence]:
    """Yield one row if proofs are overdue."""
    if late:
        worst = max(late, key=lambda name: (late[name], name))
        yield {
            "object": "amcheck",
            "value": late[worst],
            "overdue": len(late),
            "wanted": wanted,
            "worst": worst,
        }


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge one object by what amcheck found; a sound one resolves its alert."""
    if outcome.status is not Status.DONE:
        return Verdict()
    if isinstance(step, VerifyObject):
        header = HEADERS[step.proof.kind]
        findings = judges.judge(header, outcome.found, {"critical": 1}, place)
        return Verdict(findings, (Coverage(header.name, place.database, step.object),))
    if not isinstance(step, CountProofs):
        return Verdict()
    return Verdict(
        judges.judge(OVERDUE, outcome.found, OVERDUE_DAYS, place),
        (
            Coverage(OVERDUE.name, place.database),
            *(replace(one, database=place.database) for one in step.dropped),
        ),
        tuple(Measure(name, place.database, "", value) for name, value in step.counts.items()),
    )


def lanes(_options: Options, settings: Settings) -> int:
    """Return two sessions, or one where work has to be gentle."""
    return 1 if settings.pace == "gentle" else LANES


JOB = Job(
    name="corruption_check",
    summary="verifies indexes and tables with amcheck, the oldest proof first",
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
    lanes=lanes,
)
