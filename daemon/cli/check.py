"""`sereno check`: runs checks in read-only sessions; sends no alerts and records nothing."""

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    FailOnOption,
    JsonOption,
    TagOption,
    fail,
    open_context,
    print_json,
    unknown_name,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.model import Config
    from daemon.context import Context
    from domain.finding import Finding
    from domain.task import Task


class Output(StrEnum):
    """The format of the results."""

    TEXT = "text"
    JSON = "json"
    NAGIOS = "nagios"


@dataclass(slots=True)
class CheckResults:
    """Findings, skipped and failed checks, and the checks that ran."""

    findings: "list[Finding]" = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """Job or check, database and error of places that could not be reached."""
    undeclared: list[str] = field(default_factory=list)
    """Pair checks without a declared pair."""
    ignored: list[str] = field(default_factory=list)
    """Objects whose findings are not told, with the reason."""
    met: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    looks: int = 0


def check(
    checks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHECK]...", help="Default: all checks.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    fail_on: FailOnOption = "high",
    listed: Annotated[bool, typer.Option("--list", help="List the checks; run none.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print query and options of a check; run none.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the query of a check as it would run; run none.")
    ] = False,
    output: Annotated[
        Output, typer.Option("--output", help="nagios: as a plugin, with its exit codes.")
    ] = Output.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Run checks read-only; sends no alerts and records nothing."""
    if output is Output.NAGIOS:
        alone = not any((as_json, listed, explain, sql))
        raise typer.Exit(_as_plugin(config, (database, tag), checks, alone=alone))
    from daemon.cli.arguments import chosen_databases

    if as_json:
        output = Output.JSON
    with open_context(config, database, tag, looks=True) as context:
        if sql:
            _print_queries(context, checks or ())
        elif listed or explain:
            _describe(context, checks or (), listed=listed, as_json=output is Output.JSON)
        else:
            only = chosen_databases(context, database, tag)
            _check(context, checks or (), only, fail_on, output)


def _check(
    context: "Context",
    checks: Sequence[str],
    only: Collection[str] | None,
    fail_on: str,
    output: Output,
) -> None:
    """Run the checks, print what they found, and exit accordingly."""
    from daemon.cli.arguments import parse_severity

    least = parse_severity(fail_on)
    results = _results(context, checks, only)
    if output is Output.JSON:
        print_json(_as_json(results))
    else:
        _show(results, checks)
    if results.failed or results.problems:
        raise typer.Exit(Exit.CANNOT)
    reached = any(finding.severity >= least for finding in results.findings)
    raise typer.Exit(Exit.FOUND if reached else Exit.FINE)


def _results(
    context: "Context", checks: Sequence[str], only: Collection[str] | None
) -> CheckResults:
    """Run the named checks, or all that are not excluded."""
    from checks.registry import broken_checks
    from daemon.cli.unreachable import DISCOVER

    for name in checks:
        _require_runnable(context, name)
    excluded = set(context.config.job("integrity_check").exclude)
    results = run_checks(context, checks or sorted(set(context.checks) - excluded), only)
    results.problems += [(DISCOVER, group, why) for group, why in context.unasked.items()]
    broken = broken_checks(context.checks)
    results.failed += [one.problem for one in broken if not checks or one.header.name in checks]
    unusable = {one.header.name for one in broken}
    for some in (results.skipped, results.failed):
        some[:] = [text for text in some if text.partition(":")[0] not in unusable]
    results.ignored = _ignored(context, results.met)
    return results


def _as_plugin(
    config: Path | None,
    wanted: tuple[str | None, list[str] | None],
    checks: Sequence[str] | None,
    *,
    alone: bool,
) -> int:
    """Run the checks as a Nagios plugin: what prevents it is UNKNOWN, on standard output."""
    from daemon.cli.arguments import chosen_databases
    from daemon.cli.nagios_output import State, nagios_output

    said = io.StringIO()
    try:
        with (
            contextlib.redirect_stderr(said),
            open_context(config, *wanted, looks=True) as context,
        ):
            if not alone:
                fail("--output nagios prints results; leave out the other option", Exit.CANNOT)
            only = chosen_databases(context, *wanted)
            results = _results(context, checks or (), only)
    except typer.Exit:
        text, _ = nagios_output((), [said.getvalue().removeprefix("sereno: ")])
        typer.echo(text)
        return State.UNKNOWN
    unknown = [*results.failed, *(reason for *_, reason in results.problems), *results.skipped]
    text, state = nagios_output(results.findings, unknown)
    typer.echo(text)
    return state


def _ignored(context: "Context", names: Collection[str]) -> list[str]:
    """Return the objects that the configuration lets these checks ignore today."""
    today = context.clock().date()
    return [
        f"{name} {one.object} until {one.until}: {one.reason}"
        for name in sorted(set(names) & context.config.checks.keys())
        for one in context.config.checks[name].ignore
        if one.until >= today
    ]


def _print_queries(context: "Context", names: Sequence[str]) -> None:
    """Print the queries of the named checks, or of all."""
    from daemon.cli.check_list import query_of

    for name in names:
        _require_known(context, name)
    for name in names or sorted(context.checks):
        typer.echo(f"-- {name}\n{query_of(context, context.checks[name]).rstrip().rstrip(';')};\n")


def _describe(context: "Context", names: Sequence[str], *, listed: bool, as_json: bool) -> None:
    """Print the list of checks, or an explanation of each of the named ones."""
    from daemon.cli.check_list import check_rows, print_checks, print_explanation

    for name in names:
        _require_known(context, name)
    if as_json:
        print_json([row for row in check_rows(context) if not names or row["check"] in names])
    elif listed or not names:
        print_checks(context)
    else:
        for name in names:
            print_explanation(context, name)


def _require_known(context: "Context", name: str) -> None:
    if name not in context.checks:
        fail(unknown_name("check", name, sorted(context.checks)), Exit.CANNOT)


def _require_runnable(context: "Context", name: str) -> None:
    from checks.registry import PAIRED, TENANT_RLS

    _require_known(context, name)
    if name == TENANT_RLS and not context.config.declares_tenant():
        fail(f"no tenant is declared for {name}; add tenant to [databases.NAME]", Exit.CANNOT)
    if name in PAIRED and not context.config.has_pairs(name):
        fail(f"no pair is declared for {name}; add [[checks.{name}]]", Exit.CANNOT)


def run_checks(
    context: "Context", names: Sequence[str], only: Collection[str] | None
) -> CheckResults:
    """Run the named checks in every database; cluster checks once per cluster."""
    import psycopg

    from checks.registry import PAIRED, TENANT_RLS
    from daemon.scheduling.tasks import CHECK_JOBS, tasks_of
    from execution.errors import first_line
    from postgres.session import TargetError

    results = CheckResults()
    everything = replace(context, config=_nothing_excluded(context.config))
    for task in tasks_of(everything, CHECK_JOBS, only=only):
        try:
            _run(everything, task, names, results)
        except (TargetError, psycopg.Error, OSError) as error:
            results.problems.append((task.job, task.database, first_line(error)))
    results.undeclared = sorted(name for name in PAIRED if not context.config.has_pairs(name))
    without = {*results.undeclared, *([] if context.config.declares_tenant() else [TENANT_RLS])}
    missing = sorted(set(names) - results.met - without)
    if not results.problems:
        _add_missing(results, missing, only)
    return results


def _add_missing(results: CheckResults, names: Sequence[str], only: Collection[str] | None) -> None:
    """Record the named checks that ran nowhere: failed if no check ran at all."""
    from domain.units import some_of

    where = f"in {some_of(sorted(only))}" if only else "in any database"
    texts = [f"{name}: does not run {where}" for name in names]
    if results.met:
        results.skipped += texts
    else:
        results.failed += texts or [f"no check runs {where}"]


def _nothing_excluded(config: "Config") -> "Config":
    """Return the configuration without exclusions: a check named by a person runs."""
    options = config.job("integrity_check").model_copy(update={"exclude": ()})
    jobs = config.jobs.model_copy(update={"integrity_check": options})
    return config.model_copy(update={"jobs": jobs})


def _run(context: "Context", task: "Task", names: Sequence[str], results: CheckResults) -> None:
    from daemon.runs import dry_run
    from domain.cause import Cause
    from execution.step import Status
    from jobs.steps.check_step import checked_by

    for step, outcome, verdict in dry_run.run_checks(context, task, names):
        name = checked_by(step)
        results.met.add(name)
        results.findings += verdict.findings
        text = f"{task.database or 'host'}: {step.object}: {outcome.reason}"
        if outcome.status is Status.DONE:
            results.ran.add(name)
            results.looks += 1
        elif outcome.cause is Cause.UNREACHABLE:
            results.problems.append((step.object, task.database, outcome.reason))
        elif outcome.status is Status.SKIPPED:
            results.skipped.append(text)
        else:
            results.failed.append(text)


def finding_row(finding: "Finding") -> dict[str, Any]:
    """Return a finding as a JSON object."""
    identity = finding.identity
    return {
        "check": finding.kind,
        "kind": finding.kind,
        "severity": finding.severity.value,
        "database": identity.database,
        "object": identity.object,
        "summary": finding.summary,
        "value": finding.value,
        "remedy": finding.remedy,
        "fingerprint": identity.fingerprint(),
        "evidence": dict(finding.evidence),
    }


def _as_json(results: CheckResults) -> dict[str, Any]:
    from daemon.cli.unreachable import without_name

    problems = [
        f"{job} {name}: {without_name(name, reason)}" for job, name, reason in results.problems
    ]
    return {
        "findings": [finding_row(one) for one in results.findings],
        "skipped": results.skipped,
        "failed": [*results.failed, *problems],
        "ignored": results.ignored,
    }


def _show(results: CheckResults, named: Sequence[str]) -> None:
    from daemon.cli.finding_lines import count_by_severity, print_findings
    from daemon.cli.output import counted, paint, prose
    from daemon.cli.unreachable import next_step, print_unreachable

    rows = [finding_row(one) for one in results.findings]
    print_findings(rows)
    for text in results.ignored:
        prose(f"ignored  {text}")
    for text in results.skipped:
        prose(f"skipped  {text}")
    for text in results.failed:
        prose(f"{paint('FAILED', 'bold red')}  {text}")
    print_unreachable(results.problems, "look")
    counts = count_by_severity(rows) or "nothing"
    undeclared = ""
    if results.undeclared and not named:
        undeclared = f" No pair is declared for: {', '.join(results.undeclared)}."
    if not results.ran:
        prose(f"No check ran.{undeclared} {next_step(results.problems, 'sereno check')}".rstrip())
        return
    ran = counted(len(results.ran), "check")
    left_out = len(results.met - results.ran)
    not_run = f", {left_out} did not run" if left_out else ""
    following = next_step(results.problems, " ".join(["sereno check", *named]))
    looks = counted(results.looks, "time")
    prose(f"Found: {counts}. {ran} ran {looks}{not_run}.{undeclared} {following}".rstrip())
