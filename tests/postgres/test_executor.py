"""Lanes: what was done is told, whatever happens to the others; what is abandoned begins nothing more."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from execution.control import RunLimits
from execution.executor import Executor
from execution.governor import Limits, Sample
from execution.progress import NoProgress
from execution.step import HostStep, Outcome, Status
from execution.window import open_window


@dataclass(frozen=True, kw_only=True)
class CallStep(HostStep):
    do: Callable
    name: str = "do"
    limit_seconds: float = 60.0
    began: list = field(default_factory=list)

    def statement(self):
        return ""

    def apply(self, control):
        self.began.append(self.object)
        return self.do(control) or Outcome(Status.DONE)


def executor(lanes, **terms):
    return Executor(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress(), **terms),
        [None] * lanes,
    )


def objects(handful):
    return [step.object for step, _ in handful]


def broken(_pace):
    raise KeyError("a mistake of ours")


def Step(object, do, **fields):  # noqa: A002
    return CallStep(object=object, do=do, **fields)


@pytest.mark.parametrize("lanes", [1, 3])
def test_what_was_done_beside_a_mistake_of_ours_is_told(lanes):
    steps = [Step(name, lambda pace: None) for name in "abc"] + [Step("broken", broken)]
    told = []

    def tell():
        for handful in executor(lanes).run(steps):
            told.extend(objects(handful))

    with pytest.raises(KeyError):
        tell()
    assert told == ["a", "b", "c"]


def test_nobody_to_tell_is_the_end_of_it():
    """The record cannot be kept: what waits for the governor is woken, what has not begun never begins."""
    began = []
    steps = [Step(str(number), lambda pace: time.sleep(0.3), began=began) for number in range(50)]
    running = executor(2)
    started = time.monotonic()
    for _ in running.run(steps):
        break
    assert time.monotonic() - started < 5
    assert len(began) < 20


def test_a_step_that_waits_for_the_governor_is_woken_when_all_is_abandoned():
    held = executor(2, patience_seconds=60)
    held._terms = RunLimits(
        open_window(None),
        threading.Event(),
        lambda: Sample(paused=held.paused),
        Limits(),
        NoProgress(),
        patience_seconds=60,
    )
    held.paused = False

    def hold(pace):
        time.sleep(0.1)
        held.paused = True
        pace.waiters(1)
        pace.wait_while_paused()

    started = time.monotonic()
    for _ in held.run(
        [
            Step("held", hold),
            Step("quick", lambda pace: time.sleep(0.2)),
            Step("last", lambda pace: None),
        ]
    ):
        break
    assert time.monotonic() - started < 10


def test_one_that_is_alone_waits_for_all_before_it():
    order = []

    def slow(_pace):
        time.sleep(0.05)
        order.append("slow")

    steps = [Step(str(number), slow) for number in range(6)]
    steps.append(Step("last", lambda pace: order.append("last"), alone=True))
    steps.append(Step("after", lambda pace: order.append("after")))
    assert sum(len(handful) for handful in executor(3).run(steps)) == 8
    assert order[6:] == ["last", "after"]
