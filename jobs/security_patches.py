"""The job `security_patches`: reports missing releases and updates; installs nothing.

The advisories of sereno's own dependencies are left out: there is no offline list of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from checks import judge as judges
from checks.patches import HEADERS
from domain.coverage import Coverage
from domain.finding import Finding
from domain.options import Model
from domain.place import Place
from domain.task import Scope
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from jobs.steps.read_updates import ReadRelease, ReadUpdates


class Options(Model):
    """Reports releases and updates that are not installed, and what waits for a restart."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The scope of the run, and the updates that were pending at the last look."""

    scope: Scope
    is_cluster_representative: bool
    pending: Mapping[str, str]
    """When each pending update was seen first."""
    now: datetime


def observe(inputs: JobInputs) -> Observation:
    """Return the pending updates of the last look."""
    memory = inputs.memory.get("updates")
    evidence: Mapping[str, Any] = memory.evidence if memory is not None else {}
    return Observation(
        inputs.scope, inputs.is_cluster_representative, evidence.get("since", {}), inputs.now
    )


def plan(seen: Observation) -> Sequence[Step]:
    """Plan one look at the host, and one at each server."""
    if seen.scope is Scope.HOST:
        return [ReadUpdates(why="what the package lists show", before=seen.pending, now=seen.now)]
    if seen.is_cluster_representative:
        return [ReadRelease(why="minor release, end of support, restart", now=seen.now)]
    return []


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge each row by the header of its kind; a complete look resolves the other alerts."""
    if outcome.status is not Status.DONE or not isinstance(step, ReadUpdates | ReadRelease):
        return Verdict()
    scope = "host" if isinstance(step, ReadUpdates) else "cluster"
    cluster = None if scope == "host" else place.cluster
    findings: list[Finding] = []
    for header in (one for one in HEADERS.values() if one.scope == scope):
        rows = [row for row in outcome.found if row["kind"] == header.name]
        findings += judges.judge(header, rows, {}, place)
    covered = tuple(
        Coverage(name, cluster=cluster) for name, one in HEADERS.items() if one.scope == scope
    )
    return Verdict(tuple(findings), covered)


JOB = Job(
    name="security_patches",
    summary="releases and security updates that are not installed, and what waits for a restart",
    scopes=(Scope.HOST, Scope.DATABASE),
    options=Options,
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
)
