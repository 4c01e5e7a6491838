"""The findings of a whole run, derived from its result and its skipped steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.runs.login_check import CheckedLogin
from daemon.runs.result import RunResult, RunState
from domain.cause import Cause
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import (
    INEFFECTIVE,
    LOGIN_CHANGED,
    MIGRATION_FAILED,
    MIGRATION_STALLED,
    TASK_FAILED,
    TASK_INTERRUPTED,
    TASK_SKIPPED,
    TASK_UNFINISHED,
    Kind,
)
from domain.task import Request, Task
from execution.step import Outcome, Step
from jobs.job import Verdict

_EXPECTED = frozenset({Cause.NO_PRIVILEGE, Cause.NOT_SEEN, Cause.LEFT_TO_AUTOVACUUM})
"""Causes of a skip that need no attention: the set-up decides them, or autovacuum does the work."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The run to judge: its task, number and finished steps."""

    instance: str
    task: Task
    number: int
    skipped: Sequence[tuple[Step, Outcome]] = ()
    had_ineffective: bool = False
    unreachable: bool = False
    """Whether the server did not answer, which is an alert of its own."""
    alarm: Severity = Severity.HIGH
    """The severity of a run that failed."""


_NO_FAULT = {Cause.NOT_INSTALLED, Cause.GONE}
"""Causes of skipped runs that an alert of the database tells already."""


def judge_run(record: RunRecord, result: RunResult) -> Verdict:
    """Return the findings of a run that has ended, and the alerts that it resolves."""
    if record.task.request is not None:
        return _judge_requested(record, record.task.request, result)
    findings: list[Finding] = []
    if result.state is RunState.FAILED and not record.unreachable:
        findings.append(_finding(record, TASK_FAILED, record.alarm, result.reason))
    if result.state in {RunState.WINDOW_ENDED, RunState.THROTTLED}:
        summary = f"{result.state.value}: {result.reason}"
        findings.append(_finding(record, TASK_UNFINISHED, Severity.WARNING, summary))
    if result.state is RunState.SKIPPED and result.cause not in _NO_FAULT:
        findings.append(_finding(record, TASK_SKIPPED, Severity.WARNING, result.reason))
    if record.skipped:
        findings.append(_skipped_steps(record))
    return Verdict(tuple(findings), tuple(_resolved(record, result)))


def _judge_requested(record: RunRecord, request: Request, result: RunResult) -> Verdict:
    """Return the finding of a migration that failed; one that finished resolves its alerts."""
    database, subject = record.task.database, request.subject
    stalled = Coverage(MIGRATION_STALLED.name, database, subject)
    if result.state is RunState.FAILED and not record.unreachable and not _refused(result):
        identity = Identity(
            MIGRATION_FAILED.name,
            record.instance,
            database=database,
            object=subject,
            task=record.task.job,
        )
        remedy = f"sereno migrate status {subject} --database {database}"
        return Verdict((Finding(identity, record.alarm, result.reason, remedy=remedy),), (stalled,))
    if result.state is not RunState.FINISHED:
        return Verdict(coverage=(stalled,))
    return Verdict(coverage=(stalled, Coverage(MIGRATION_FAILED.name, database, subject)))


def _refused(result: RunResult) -> bool:
    """Return whether nothing was begun: only the one that asked has to know."""
    return result.cause in {Cause.REFUSED, Cause.PLAN_CHANGED, Cause.GATE_CLOSED, Cause.BUSY}


def judge_logins(instance: str, database: str, logins: Sequence[CheckedLogin]) -> Verdict:
    """Return a finding for each login that has changed; one as it was made resolves its alert."""
    findings = [
        Finding(
            Identity(LOGIN_CHANGED.name, instance, database=database, object=one.user),
            Severity.CRITICAL,
            f"the login {one.user} was changed during a run: {one.changed}",
            remedy=LOGIN_CHANGED.action,
        )
        for one in logins
        if one.changed
    ]
    unchanged = [one.user for one in logins if one.plain and not one.changed]
    coverage = [Coverage(LOGIN_CHANGED.name, database, user) for user in unchanged]
    return Verdict(tuple(findings), tuple(coverage))


def judge_interrupted(instance: str, task: Task, number: int, reason: str) -> Finding:
    """Return the finding that a process died during a run."""
    if task.request is not None:
        subject = task.request.subject
        identity = Identity(
            MIGRATION_FAILED.name, instance, database=task.database, object=subject, task=task.job
        )
        summary = f"run {number}: {reason}; nothing goes on by itself"
        remedy = f"sereno migrate resume {subject} --database {task.database}"
        return Finding(identity, Severity.CRITICAL, summary, remedy=remedy)
    identity = Identity(TASK_INTERRUPTED.name, instance, database=task.database, task=task.job)
    summary = f"run {number}: {reason}; the run will be retried"
    remedy = f"sereno history {number}; journalctl -u 'sereno*'"
    return Finding(identity, Severity.HIGH, summary, remedy=remedy)


def _skipped_steps(record: RunRecord) -> Finding:
    step, outcome = record.skipped[0]
    more = ""
    if len(record.skipped) > 1:
        more = f" (and {len(record.skipped) - 1} more)"
    expected = all(outcome.cause in _EXPECTED for _, outcome in record.skipped)
    severity = Severity.INFO if expected else Severity.WARNING
    summary = f"{step.name} {step.object}: {outcome.reason}{more}"
    return _finding(record, TASK_SKIPPED, severity, summary)


def _resolved(record: RunRecord, result: RunResult) -> list[Coverage]:
    if result.state is not RunState.FINISHED:
        return []
    kinds = [TASK_FAILED, TASK_UNFINISHED, TASK_INTERRUPTED]
    if not record.skipped:
        kinds.append(TASK_SKIPPED)
    if not record.had_ineffective:
        kinds.append(INEFFECTIVE)
    return [Coverage(kind.name, record.task.database, task=record.task.job) for kind in kinds]


def _finding(record: RunRecord, kind: Kind, severity: Severity, summary: str) -> Finding:
    task = record.task
    identity = Identity(kind.name, record.instance, database=task.database, task=task.job)
    return Finding(identity, severity, summary, remedy=f"sereno history {record.number}")
