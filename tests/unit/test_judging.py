"""Decisions follow the cause of an outcome, never its text."""

import typing

import pytest

from alerts.alert import Reason
from alerts.policy import Policy
from alerts.rules import Threshold
from alerts.wording import reason_wording, severity_wording
from daemon.cli.now import exit_code
from daemon.config.alerting import Alerting
from daemon.exit_codes import Exit
from daemon.runs.judging import RunRecord, judge_run
from daemon.runs.result import RunResult, RunState
from daemon.runs.runner import FinishedRun
from domain.cause import Cause
from domain.finding import Severity
from domain.kinds import CHECK_TYPE, KINDS, message_type
from domain.task import Scope, Task
from execution.skipped import SkippedStep
from execution.step import Outcome, Status

NAMED_LIKE_A_CAUSE = 'public."no privilege"'


def record(**fields):
    task = Task("vacuum", Scope.DATABASE, "main")
    return RunRecord("one", task, 7, **fields)


@pytest.mark.parametrize(
    ("cause", "severity"),
    [
        (Cause.NO_PRIVILEGE, Severity.INFO),
        (Cause.LEFT_TO_AUTOVACUUM, Severity.INFO),
        (Cause.LOCKED, Severity.WARNING),
        (Cause.NO_ROOM, Severity.WARNING),
    ],
)
def test_severity_of_skipped_step_follows_its_cause(cause, severity):
    step = SkippedStep(name="vacuum", object=NAMED_LIKE_A_CAUSE, why="", cause=cause)
    outcome = Outcome(Status.SKIPPED, f"no privilege on {NAMED_LIKE_A_CAUSE}", cause=cause)
    (finding,) = judge_run(record(skipped=[(step, outcome)]), RunResult(RunState.FINISHED)).findings
    assert finding.severity is severity


@pytest.mark.parametrize("reason", ["busy", "no privilege", "unreachable", "locked by pid 1"])
def test_failed_run_is_high_whatever_its_reason_says(reason):
    (finding,) = judge_run(record(), RunResult(RunState.FAILED, reason)).findings
    assert finding.severity is Severity.HIGH


def test_finished_run_resolves_the_alerts_of_its_task():
    kinds = {area.kind for area in judge_run(record(), RunResult(RunState.FINISHED)).coverage}
    assert {"task_failed", "task_unfinished", "task_interrupted", "task_skipped"} <= kinds


def finished(state, cause=None, reason=""):
    return FinishedRun(1, "vacuum", "main", state, reason, cause)


@pytest.mark.parametrize(
    ("runs", "found", "expected"),
    [
        ([finished(RunState.FINISHED)], False, Exit.FINE),
        ([finished(RunState.FINISHED)], True, Exit.FOUND),
        ([finished(RunState.SKIPPED, Cause.BUSY)], False, Exit.BUSY),
        (
            [finished(RunState.SKIPPED, Cause.BUSY), finished(RunState.FAILED)],
            False,
            Exit.FOUND,
        ),
        ([finished(RunState.FAILED, Cause.ERROR, "busy")], False, Exit.FOUND),
        ([finished(RunState.WINDOW_ENDED)], False, Exit.WINDOW),
    ],
)
def test_exit_code_follows_states_and_causes(runs, found, expected):
    assert exit_code(runs, found=found) is expected


def test_message_type_comes_from_the_list_of_kinds():
    assert {message_type(name) for name in KINDS} == {kind.type for kind in KINDS.values()}
    assert message_type("task_of_the_month") == CHECK_TYPE


def test_every_severity_and_reason_has_its_wording():
    assert len({severity_wording(one).colour for one in Severity}) == len(Severity)
    assert all(isinstance(reason_wording(one), str) for one in Reason)


def test_configuration_and_policy_use_one_rule_model():
    assert Threshold in typing.get_args(Alerting.model_fields["thresholds"].annotation)
    assert Threshold in typing.get_args(typing.get_type_hints(Policy)["thresholds"])
