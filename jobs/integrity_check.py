"""The job `integrity_check`: runs the built-in checks and those of the operator."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from pydantic import Field

from checks import foreign_keys
from checks import judge as judges
from checks.broken_check import BrokenCheck
from checks.check import Check, OptionValues
from checks.options import CheckOptions
from checks.registry import PAIRED, SAME_TENANT, TENANT_RLS
from checks.tenant_keys import tenant_pairs
from domain.cause import Cause
from domain.coverage import Coverage
from domain.memory import Measure, Memory
from domain.options import Model
from domain.place import Place, means
from domain.task import Scope
from execution.skipped import SkippedStep
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from jobs.large_keys import CountKeys, LargeKeys, count_keys, key_steps, read_large_keys
from jobs.steps.check_step import (
    CHEAP_LIMIT_SECONDS,
    LIMIT_SECONDS,
    CheckStep,
    ForeignKeyStep,
)
from postgres.session import MAINTAIN, Login


class Options(Model):
    """Runs the checks."""

    exclude: tuple[str, ...] = Field((), description="Checks not to run.")


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """A check with its options and its query as text."""

    check: Check
    options: OptionValues
    text: str
    logins: tuple[Login, ...]
    """The logins that it runs as; none if it cannot run."""
    unread: str
    """The reason why it cannot run, or why it does not read everything."""
    cause: Cause


@dataclass(frozen=True, slots=True)
class Observation:
    """The checks of this database, and the memory of their durations."""

    wanted: Sequence[PlannedCheck]
    memory: Mapping[str, Memory]
    keys: LargeKeys
    now: datetime
    uncovered: Mapping[str, str]
    """The owners whose rows no login reads, and why; empty if no check reads rows."""


def observe(inputs: JobInputs) -> Observation:
    """Collect the checks; cluster checks run in one database of the cluster only."""
    session = inputs.opened
    excluded = inputs.options.exclude
    scopes = {"database", "cluster"} if inputs.is_cluster_representative else {"database"}
    wanted = []
    for name, check in sorted(inputs.checks.items()):
        # a file that cannot be used is an alert of its own
        usable = not isinstance(check, BrokenCheck)
        if usable and check.header.scope in scopes and name not in excluded:
            options = _options(inputs, name)
            if not _is_declared(name, options):
                continue
            logins, unread, cause = _logins(inputs, check)
            text = check.question(session, options)
            wanted.append(PlannedCheck(check, options, text, logins, unread, cause))
    reads_rows = any(one.check.header.reads == "rows" for one in wanted)
    uncovered = inputs.trust_domains.uncovered() if reads_rows else {}
    keys = LargeKeys()
    if any(_is_of_keys(one) for one in wanted):
        keys = read_large_keys(inputs.trust_domains, inputs.memory)
    return Observation(wanted, inputs.memory, keys, inputs.now, uncovered)


def _options(inputs: JobInputs, name: str) -> OptionValues:
    """Return the options of a check, with what the tenant's column of the database adds."""
    configured = inputs.settings.checks[name]
    options = options_in(configured, inputs.database, inputs.now.date())
    if name == SAME_TENANT:
        return _with_tenant_keys(inputs, options)
    if name == TENANT_RLS:
        declared = inputs.settings.tenant(inputs.database)
        return {**options, "tenant": options["tenant"] or declared}
    return options


def _is_declared(name: str, options: OptionValues) -> bool:
    """Return whether a check that needs declared pairs, or a tenant's column, has them."""
    if name == TENANT_RLS:
        return bool(options["tenant"])
    return name not in PAIRED or bool(options.get("pairs"))


def _with_tenant_keys(inputs: JobInputs, options: OptionValues) -> OptionValues:
    """Add the pairs that the foreign keys of tables with the tenant's column make."""
    tenant = inputs.settings.tenant(inputs.database)
    declared = options.get("pairs", ())
    if not tenant or not isinstance(declared, Sequence):
        return options
    made = tenant_pairs(inputs.opened, tenant)
    return {**options, "pairs": tuple(dict.fromkeys([*declared, *made]))}


def _is_of_keys(planned: PlannedCheck) -> bool:
    return planned.check is foreign_keys.CHECK


def _logins(inputs: JobInputs, check: Check) -> tuple[tuple[Login, ...], str, Cause]:
    """Return the logins of a check, or why it cannot run and the cause of that."""
    if check.header.reads == "catalog":
        return (MAINTAIN,), "", Cause.NOT_SEEN
    name = check.header.domain
    domains = [one for one in inputs.trust_domains.all() if name in {"", one.login.domain}]
    if not domains:
        why = f"there is no data login of a trust domain {name!r}"
        if not name:
            why = f"rows need a login: databases.{inputs.database}.data is not configured"
        return (), why, Cause.NOT_SEEN
    usable = tuple(one.login for one in domains if not one.domain.wrong)
    wrong = "; ".join(one.domain.wrong for one in domains if one.domain.wrong)
    refused = any(one.unreachable for one in domains)
    return usable, wrong, Cause.UNREACHABLE if refused else Cause.NOT_SEEN


def options_in(configured: CheckOptions, database: str, day: date) -> OptionValues:
    """Return the options of a check in a database on a day."""
    pairs = tuple(one.pair for one in configured.pairs if means(one.database, database))
    values = configured.values_on(day)
    if configured.pairs:
        return {**values, "pairs": pairs}
    return values


def plan(seen: Observation) -> Sequence[Step]:
    """Plan the cheap checks first, which load does not pause; of each kind the fastest first.

    Large foreign keys follow, the oldest look first.
    """
    steps = [_question(wanted, seen) for wanted in seen.wanted if wanted.logins]
    skipped = [
        _skipped(wanted.check.header.name, wanted.unread, wanted.cause)
        for wanted in seen.wanted
        if wanted.unread
    ]
    skipped += [
        _skipped(f"tables of {owner}", why, Cause.NOT_SEEN) for owner, why in seen.uncovered.items()
    ]
    return [
        *sorted(steps, key=lambda step: (not step.unpaused, step.predicted_seconds)),
        *_key_steps(seen),
        *skipped,
    ]


def _skipped(object_: str, why: str, cause: Cause) -> SkippedStep:
    return SkippedStep(name="check", object=object_, why=why, cause=cause)


def _question(wanted: PlannedCheck, seen: Observation) -> CheckStep:
    header, options = wanted.check.header, wanted.options
    memory = seen.memory.get(header.name)
    if _is_of_keys(wanted):
        apart = {foreign_keys.APART: seen.keys.apart, foreign_keys.LEFT_OUT: seen.keys.labels}
        options = {**options, **apart}
    cheap = header.cost == "cheap"
    return CheckStep(
        object=header.name,
        why=header.title,
        check=wanted.check,
        options=options,
        text=wanted.text,
        now=seen.now,
        before=memory,
        predicted_seconds=memory.seconds if memory else 0.0,
        logins=wanted.logins,
        unpaused=cheap,
        limit_seconds=CHEAP_LIMIT_SECONDS if cheap else LIMIT_SECONDS,
    )


def _key_steps(seen: Observation) -> Iterator[Step]:
    """Yield the steps of the large foreign keys, and the one that counts all."""
    planned = next((one for one in seen.wanted if _is_of_keys(one)), None)
    if planned is not None:
        yield from key_steps(seen.keys, planned.check, planned.options, seen.memory, seen.now)
        yield count_keys(seen.keys, seen.memory, seen.now)


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Judge the rows of one check; a complete look resolves what it no longer finds."""
    if isinstance(step, CountKeys):
        counted = step.counts.items()
        return Verdict(
            coverage=tuple(
                Coverage(foreign_keys.CHECK.header.name, place.database, name)
                for name in step.superseded
            ),
            measures=tuple(Measure(name, place.database, "", one) for name, one in counted),
        )
    if outcome.status is not Status.DONE or not isinstance(step, CheckStep):
        return Verdict()
    findings = judges.judge(step.check.header, outcome.found, step.options, place)
    if judges.is_incomplete(outcome.found):
        return Verdict(findings)
    if isinstance(step, ForeignKeyStep):
        return Verdict(findings, (Coverage(step.check.header.name, place.database, step.object),))
    apart = step.options.get(foreign_keys.APART, ())
    database = "" if step.check.header.scope == "cluster" else place.database
    cluster = place.cluster if step.check.header.scope == "cluster" else None
    area = Coverage(step.check.header.name, database, cluster=cluster)
    return Verdict(findings, (replace(area, apart=apart if isinstance(apart, tuple) else ()),))


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
    logins=("maintain", "data"),
)
