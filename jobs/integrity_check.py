"""Runs the checks: orphans, referential integrity, tenants, index health, and what the operator has put beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from checks import judge as judges
from checks.check import Check, OptionValues
from checks.options import CheckOptions
from checks.registry import PAIRED
from domain.coverage import Coverage
from domain.memory import Memory
from domain.place import Place
from domain.task import Scope
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from jobs.option_types import Model
from jobs.steps.check_step import Question


class Options(Model):
    """Runs the checks."""

    exclude: tuple[str, ...] = Field((), description="Checks to leave out.")



@dataclass(frozen=True, slots=True)
class Wanted:
    """A check with its options, and what it would ask."""

    check: Check
    options: OptionValues
    text: str


@dataclass(frozen=True, slots=True)
class Observation:
    """The checks of this database, and how long each took the last time."""

    wanted: Sequence[Wanted]
    memory: Mapping[str, Memory]


def observe(inputs: JobInputs) -> Observation:
    """Gather the checks; those of the cluster are asked through one of its databases only."""
    session = inputs.opened
    excluded = inputs.options.exclude
    scopes = {"database", "cluster"} if inputs.is_cluster_representative else {"database"}
    wanted = []
    for name, check in sorted(inputs.checks.items()):
        if check.header.scope in scopes and name not in excluded:
            if name in PAIRED and not as_options(inputs.settings.checks[name], inputs.database).get("pairs"):
                continue  # no pair is declared: to say "nothing found" would be to say too much
            options = as_options(inputs.settings.checks[name], inputs.database)
            wanted.append(Wanted(check, options, check.question(session, options)))
    return Observation(wanted, inputs.memory)


def as_options(configured: CheckOptions, database: str) -> OptionValues:
    """Return what a check is asked with in a database."""
    pairs = tuple(one.pair for one in configured.pairs if one.database in {None, database})
    return {**configured.values, "pairs": pairs} if configured.pairs else configured.values


def plan(seen: Observation) -> Sequence[Step]:
    """The quickest first, so that a short window sees most."""
    steps = [_question(wanted, seen.memory.get(wanted.check.header.name)) for wanted in seen.wanted]
    return sorted(steps, key=lambda step: step.predicted_seconds)


def _question(wanted: Wanted, memory: Memory | None) -> Question:
    seconds = memory.seconds if memory else 0.0
    return Question(
        wanted.check, wanted.options, wanted.check.header.title, predicted_seconds=seconds, text=wanted.text
    )


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Each check's own judge; what it no longer finds is over, but only where it has really looked."""
    if outcome.status is not Status.DONE or not isinstance(step, Question):
        return Verdict()
    findings = judges.judge(step.check.header, outcome.found, step.options, place)
    if judges.blind(outcome.found):
        return Verdict(findings)
    database = "" if step.check.header.scope == "cluster" else place.database
    cluster = place.cluster if step.check.header.scope == "cluster" else None
    return Verdict(findings, (Coverage(step.check.header.name, database, cluster=cluster),))


JOB = Job(
    name="integrity_check",
    summary="orphans, foreign keys, tenants, constraints, indexes, sequences, wraparound, and your own checks",
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
)
