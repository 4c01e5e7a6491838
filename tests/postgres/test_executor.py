"""Executor: reported outcomes, errors, abandoned runs and steps that run alone."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from execution.control import RunLimits
from execution.executor import Executor
from execution.governor import Limits, Sample
from execution.progress import NoProgress
from execution.step import HostStep, Outcome, Status
from execution.window import open_window
from postgres.session import MAINTAIN


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


def executor(lanes, *, orders=Sample, **terms):
    limits = (open_window(None), threading.Event(), Sample, Limits(), NoProgress(), orders)
    return Executor(
        RunLimits(*limits, **terms),
        {MAINTAIN: [None] * lanes},
    )


def objects(batch):
    return [step.object for step, _ in batch]


def fail(_pace):
    raise KeyError("bug in a step")


def make_step(object, do, **fields):  # noqa: A002
    return CallStep(object=object, do=do, **fields)


@pytest.mark.parametrize("lanes", [1, 3])
def test_finished_steps_are_reported_when_another_step_raises(lanes):
    steps = [make_step(name, lambda pace: None) for name in "abc"] + [make_step("fail", fail)]
    reported = []

    def run_all():
        for batch in executor(lanes).run(steps):
            reported.extend(objects(batch))

    with pytest.raises(KeyError):
        run_all()
    assert reported == ["a", "b", "c"]


def test_no_step_starts_after_consumer_stops():
    """As when outcomes cannot be recorded: steps that have not started never start."""
    began = []
    steps = [
        make_step(str(number), lambda pace: time.sleep(0.3), began=began) for number in range(50)
    ]
    running = executor(2)
    started = time.monotonic()
    for _ in running.run(steps):
        break
    assert time.monotonic() - started < 5
    assert len(began) < 20


def test_paused_step_ends_when_consumer_stops():
    held = executor(2, patience_seconds=60)
    held._terms = RunLimits(
        open_window(None),
        threading.Event(),
        lambda: Sample(paused=held.paused),
        Limits(),
        NoProgress(),
        Sample,
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
            make_step("held", hold),
            make_step("quick", lambda pace: time.sleep(0.2)),
            make_step("last", lambda pace: None),
        ]
    ):
        break
    assert time.monotonic() - started < 10


def test_step_marked_alone_waits_for_earlier_steps():
    order = []

    def slow(_pace):
        time.sleep(0.05)
        order.append("slow")

    steps = [make_step(str(number), slow) for number in range(6)]
    steps.append(make_step("last", lambda pace: order.append("last"), alone=True))
    steps.append(make_step("after", lambda pace: order.append("after")))
    assert sum(len(batch) for batch in executor(3).run(steps)) == 8
    assert order[6:] == ["last", "after"]


def test_results_that_keep_coming_do_not_delay_the_look_at_waiting_sessions():
    looks = []
    steps = [make_step(str(number), lambda pace: time.sleep(0.02)) for number in range(200)]
    running = executor(2, read_progress=lambda: looks.append(time.monotonic()) or {})
    began = time.monotonic()
    assert sum(len(batch) for batch in running.run(steps)) == 200
    assert len(looks) >= 3
    assert looks[0] - began < 0.5 * (time.monotonic() - began)


@pytest.mark.parametrize("unpaused", [False, True])
def test_load_is_not_even_read_for_a_step_that_it_does_not_pause(unpaused):
    looked, orders = [], []

    def look():
        looked.append("load")
        return Sample()

    def order():
        orders.append("orders")
        return Sample(paused=len(orders) == 1)

    running = executor(1, orders=order)
    running._terms = replace(running._terms, sample=look)
    step = make_step("cheap", lambda control: None, unpaused=unpaused)
    [[(_, outcome)]] = running.run([step])
    assert outcome.status is Status.DONE
    assert bool(looked) is not unpaused
    assert list(outcome.paused) == (["sereno pause"] if unpaused else [])
