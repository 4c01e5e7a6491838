"""Records what the patch unit did as a run, with its alert, and ends the pause."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.context import AlertContext
from daemon.history import history, pause, recording
from daemon.patching.objections import REASON
from daemon.patching.upgrade_report import JOB, SCHEDULE, UpgradeReport
from daemon.runs.judging import RunRecord, judge_run
from daemon.runs.result import RunResult, RunState
from domain.coverage import Coverage
from domain.kinds import PATCH_UNIT, SERVICE_FAILED, TASK_FAILED
from domain.task import Scope, Task, Trigger
from execution.control import StepControl
from execution.step import HostStep, Outcome
from store.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class _EndedStep(HostStep):
    """A step that the patch unit has run."""

    def statement(self) -> str:
        """Return nothing: the journal of the unit has the command."""
        return ""

    def apply(self, control: StepControl) -> Outcome:
        """Raise NotImplementedError: only root runs it."""
        raise NotImplementedError


def record(context: AlertContext, report: UpgradeReport) -> int | None:
    """Record an attempt, in place of an earlier one of the same window; return its run.

    None: the window has a run that says the same, or that installed something.
    """
    now = context.clock()
    trigger = Trigger(SCHEDULE, report.nominal)
    task = Task(JOB, Scope.HOST, "", trigger)
    with context.store.transaction() as transaction:
        paused = pause.paused(transaction, now)
        if paused is not None and paused.reason == REASON:
            pause.resume(transaction)
        # the unit works, so that the alert of its own last failure ends
        works = Coverage(SERVICE_FAILED.name, object=PATCH_UNIT)
        if not _makes_room(transaction, report, trigger):
            context.processor(transaction).process([], [works])
            return None
        number = history.begin_run(transaction, task, report.started)
        recording.record_steps(transaction, number, 0, _steps(report), now)
        result = RunResult(RunState(report.state), report.reason)
        history.finish_run(transaction, number, (result.state, result.reason, 0, None), now)
        verdict = judge_run(RunRecord(context.config.daemon.name, task, number), result)
        for finding in verdict.findings:
            history.record_finding(transaction, number, finding, now)
        # that nothing is pending any more does not undo a failed upgrade
        ended = [
            one for one in verdict.coverage if report.has_installed or one.kind != TASK_FAILED.name
        ]
        coverage = [*ended, works]
        context.processor(transaction, number).process(verdict.findings, coverage)
    return number


def _makes_room(transaction: Transaction, report: UpgradeReport, trigger: Trigger) -> bool:
    """Return whether an attempt is recorded; deletes an earlier one that did nothing."""
    for run in history.last_runs(transaction, [JOB]):
        if (run["schedule"], run["nominal"]) != (trigger.schedule, trigger.minute()):
            continue
        same = (run["state"], run["reason"]) == (report.state, report.reason)
        if not report.has_installed and (same or run["state"] != "skipped"):
            return False
        if run["state"] == "skipped":
            history.forget_run(transaction, run["id"])
    return True


def _steps(report: UpgradeReport) -> Sequence[recording.Ended]:
    return [
        (_EndedStep(name=one.name, object=one.object),
         Outcome(one.status, one.reason, seconds=one.seconds))
        for one in report.steps
    ]  # fmt: skip
