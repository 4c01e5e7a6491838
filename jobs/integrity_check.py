"""The job `integrity_check`: runs the built-in checks and those of the operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from checks import judge as judges
from checks.check import Check, OptionValues
from checks.options import CheckOptions
from checks.registry import PAIRED
from domain.coverage import Coverage
from domain.memory import Memory
from domain.options import Model
from domain.place import Place
from domain.task import Scope
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from jobs.steps.check_step import CheckStep


class Options(Model):
    """Runs the checks."""

    exclude: tuple[str, ...] = Field((), description="Checks not to run.")


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """A check with its options and its query as text."""

    check: Check
    options: OptionValues
    text: str


@dataclass(frozen=True, slots=True)
class Observation:
    """The checks of this database, and the memory of their durations."""

    wanted: Sequence[PlannedCheck]
    memory: Mapping[str, Memory]


def observe(inputs: JobInputs) -> Observation:
    """Collect the checks; cluster checks run in one database of the cluster only."""
    session = inputs.opened
    excluded = inputs.options.exclude
    scopes = {"database", "cluster"} if inputs.is_cluster_representative else {"database"}
    wanted = []
    for name, check in sorted(inputs.checks.items()):
        if check.header.scope in scopes and name not in excluded:
            if name in PAIRED and not options_in(inputs.settings.checks[name], inputs.database).get(
                "pairs"
            ):
                # without declared pairs nothing was checked
                continue
            options = options_in(inputs.settings.checks[name], inputs.database)
            wanted.append(PlannedCheck(check, options, check.question(session, options)))
    return Observation(wanted, inputs.memory)


def options_in(configured: CheckOptions, database: str) -> OptionValues:
    """Return the options of a check in a database."""
    pairs = tuple(one.pair for one in configured.pairs if one.database in {None, database})
    if configured.pairs:
        return {**configured.values, "pairs": pairs}
    return configured.values


def plan(seen: Observation) -> Sequence[Step]:
    """Plan the fastest first, so that a short window completes most."""
    steps = [_question(wanted, seen.memory.get(wanted.check.header.name)) for wanted in seen.wanted]
    return sorted(steps, key=lambda step: step.predicted_seconds)


def _question(wanted: PlannedCheck, memory: Memory | None) -> CheckStep:
    seconds = 0.0
    if memory:
        seconds = memory.seconds
    header = wanted.check.header
    return CheckStep(
        object=header.name,
        why=header.title,
        check=wanted.check,
        options=wanted.options,
        text=wanted.text,
        predicted_seconds=seconds,
    )


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge the rows of one check; a complete look resolves what it no longer finds."""
    if outcome.status is not Status.DONE or not isinstance(step, CheckStep):
        return Verdict()
    findings = judges.judge(step.check.header, outcome.found, step.options, place)
    if judges.is_incomplete(outcome.found):
        return Verdict(findings)
    database = "" if step.check.header.scope == "cluster" else place.database
    cluster = place.cluster if step.check.header.scope == "cluster" else None
    return Verdict(findings, (Coverage(step.check.header.name, database, cluster=cluster),))


JOB = Job(
    name="integrity_check",
    summary=(
        "orphans, foreign keys, tenants, constraints, indexes, sequences, wraparound, and your "
        "own checks"
    ),
    scopes=(Scope.DATABASE,),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
)
