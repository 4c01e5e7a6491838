"""The plan of `corruption_check`: order, budget, ranges of large tables, overdue proofs."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from checks.corruption import Amcheck, Provable
from domain.memory import Memory
from jobs.corruption_check import (
    GROUP,
    LANES,
    RANGE_PAGES,
    SHORT_SECONDS,
    CountProofs,
    Observation,
    Options,
    plan,
)
from jobs.steps.verify_object import VerifyGroup, VerifyObject
from postgres.identifiers import Relation

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
AMCHECK = Amcheck("sereno", frozenset({"heap", "btree", "gin"}), verifies_uniqueness=True)

objects = st.builds(
    Provable,
    kind=st.sampled_from(["heap", "btree", "gin"]),
    relation=st.builds(Relation, st.just("public"), st.text("abc", min_size=1, max_size=3)),
    oid=st.integers(1, 9999),
    filenode=st.integers(1, 3),
    pages=st.integers(0, 3 * RANGE_PAGES),
    heap_rows=st.floats(0, 1e9),
    is_unique=st.booleans(),
)
memories = st.builds(
    Memory,
    seconds=st.floats(0, 5000),
    bytes=st.just(0),
    evidence=st.fixed_dictionaries(
        {
            "filenode": st.integers(1, 3),
            "damaged": st.booleans(),
            "kind": st.sampled_from(["heap", "btree"]),
        }
    ),
    at=st.timedeltas(timedelta(0), timedelta(days=60)).map(lambda age: NOW - age),
)
observations = st.builds(
    Observation,
    amcheck=st.just(AMCHECK),
    objects=st.lists(objects, max_size=12, unique_by=lambda one: one.relation),
    memory=st.dictionaries(
        st.text("abc", min_size=1, max_size=3).map("public.{}".format), memories, max_size=12
    ),
    now=st.just(NOW),
    options=st.builds(Options, budget=st.sampled_from([timedelta(minutes=1), timedelta(hours=9)])),
    lanes=st.integers(1, LANES),
)


def verified(steps):
    return [part for step in steps for part in step.parts() if isinstance(part, VerifyObject)]


@given(observations)
def test_plan_stays_within_its_budget_and_always_makes_progress(seen):
    steps = verified(plan(seen))
    spent = sum(step.predicted_seconds for step in steps)
    assert len(steps) <= 1 or spent <= seen.lanes * seen.options.budget.total_seconds()
    fresh = {
        name
        for name, memory in seen.memory.items()
        if NOW - memory.at <= seen.options.every and not memory.evidence["damaged"]
    }
    due = [
        one
        for one in seen.objects
        if str(one.relation) not in fresh or seen.memory[str(one.relation)].evidence["filenode"] != one.filenode
    ]  # fmt: skip
    assert bool(steps) == bool(due)


def priority(step, seen):
    """Return what decides whether an object is planned: damage, then the age of its proof."""
    memory = seen.memory.get(step.object)
    damaged = memory is not None and memory.evidence["damaged"]
    sound = memory and not damaged and memory.evidence["filenode"] == step.proof.filenode
    return (not damaged, memory.at if sound else datetime.min.replace(tzinfo=UTC))


@given(observations)
def test_damaged_objects_and_the_oldest_proofs_are_planned(seen):
    everything = replace(seen, options=Options(budget=timedelta(days=99), every=seen.options.every))
    chosen = [priority(step, seen) for step in verified(plan(seen))]
    due = sorted(priority(step, seen) for step in verified(plan(everything)))
    assert sorted(chosen) == due[: len(chosen)]


@given(observations)
def test_damaged_objects_run_first_then_the_longest(seen):
    alone = [step for step in plan(seen) if isinstance(step, VerifyObject)]
    long = [step for step in alone if step.damaged or step.predicted_seconds > SHORT_SECONDS]
    keys = [(not priority(step, seen)[0], step.predicted_seconds) for step in long]
    assert keys == sorted(keys, reverse=True)


@given(observations)
def test_short_objects_are_verified_in_groups_of_a_kind(seen):
    groups = [step for step in plan(seen) if isinstance(step, VerifyGroup)]
    for step in groups:
        assert 1 < len(step.members) <= GROUP
        assert len({one.proof.kind == "heap" for one in step.members}) == 1
        assert all(
            one.predicted_seconds <= SHORT_SECONDS and not one.damaged for one in step.members
        )


@given(st.integers(1, 9 * RANGE_PAGES))
def test_ranges_of_a_table_cover_every_block_once(pages):
    table = Provable("heap", Relation("public", "t"), 1, 1, pages, 1e6)
    steps = verified(
        plan(Observation(AMCHECK, [table], {}, NOW, Options(budget=timedelta(days=9))))
    )
    assert len({step.object for step in steps}) == len(steps)
    ranges = sorted((step.blocks.first, step.blocks.last) for step in steps)
    assert (ranges[0][0], ranges[-1][1]) == (0, None)
    for (_, last), (first, _) in itertools.pairwise(ranges):
        assert first == last + 1


def test_every_row_is_looked_up_unless_that_alone_exceeds_the_budget():
    small, large = (
        Provable("btree", Relation("public", name), 1, 1, 1000, rows)
        for name, rows in (("small", 1e6), ("large", 1e12))
    )
    texts = {step.object: step.statement() for step in verified(plan(_seen(small, large)))}
    assert "bt_index_check(c.oid, true)" in texts["public.small"]
    assert "bt_index_check(c.oid, false)" in texts["public.large"]


def damaged(kind, filenode=1):
    return Memory(1.0, 0, {"kind": kind, "filenode": filenode, "damaged": True}, NOW)


def test_dropped_damaged_object_resolves_its_alert():
    (count,) = plan(Observation(AMCHECK, [], {"public.gone": damaged("btree")}, NOW))
    assert isinstance(count, CountProofs)
    assert [(one.kind, one.object) for one in count.dropped] == [
        ("btree_corruption", "public.gone")
    ]


def test_damaged_object_that_cannot_be_seen_tonight_keeps_its_alert():
    seen = {"public.i": damaged("btree"), "public.t": damaged("heap")}
    for kinds in (frozenset(), frozenset({"heap"})):
        amcheck = Amcheck("sereno", kinds, missing="a right is missing")
        table = Provable("heap", Relation("public", "t"), 1, 1, 1, 1.0)
        count = plan(Observation(amcheck, [table] if kinds else [], seen, NOW))[-1]
        assert count.dropped == ()


def test_damaged_table_that_grows_into_another_range_is_verified_under_its_name():
    for pages in (RANGE_PAGES, RANGE_PAGES + 1, 3 * RANGE_PAGES):
        table = Provable("heap", Relation("public", "t"), 1, 1, pages, 1e6)
        seen = {"public.t": damaged("heap"), f"public.t blocks {RANGE_PAGES} to {2 * RANGE_PAGES - 1}": damaged("heap")}  # fmt: skip
        first, *_, count = plan(Observation(AMCHECK, [table], seen, NOW))
        assert (first.object, first.blocks.first) == ("public.t", 0)
        assert [one.object for one in count.dropped] == (
            [f"public.t blocks {RANGE_PAGES} to {2 * RANGE_PAGES - 1}"] if pages == RANGE_PAGES else []
        )  # fmt: skip


def test_memory_of_a_plain_look_does_not_predict_one_that_looks_up_every_row():
    index = Provable("btree", Relation("public", "large"), 1, 1, 1000, 1e9)
    plain = {"kind": "btree", "filenode": 1, "damaged": False, "all_rows": False}
    memory = Memory(60.0, 0, plain, NOW - timedelta(days=9))
    (step,) = verified(plan(Observation(AMCHECK, [index], {"public.large": memory}, NOW)))
    assert (step.all_rows, step.predicted_seconds) == (False, 72.0)


def nights(known, days, *, planned=True):
    """Yield the count of each night on which no proof succeeds, `days` apart."""
    memory = {}
    for number, day in enumerate(days):
        budget = timedelta(hours=1) if planned else timedelta(0)
        now = NOW + timedelta(days=day)
        count = plan(Observation(AMCHECK, known, memory, now, Options(budget=budget)))[-1]
        memory = {**memory, "proofs": Memory(0.0, 0, count.kept, now)}
        yield number, count


def test_object_whose_proof_is_planned_in_vain_for_14_days_is_overdue():
    table = Provable("heap", Relation("public", "t"), 1, 1, 1, 1.0)
    counts = [count.overdue for _, count in nights([table], (0, 13, 14, 15))]
    assert counts[:3] == [(), (), ()]  # the third run is the first to plan it when it is late
    assert (counts[3][0]["worst"], counts[3][0]["value"]) == ("public.t", 15)


def test_object_is_unproven_since_the_night_it_was_seen_first():
    """The memory of objects that no longer exist does not make a new one old."""
    old = Memory(1.0, 0, {"kind": "heap", "filenode": 7, "damaged": False}, NOW - timedelta(99))
    tables = [Provable("heap", Relation("public", name), 1, 1, 9**9, 1.0) for name in "ab"]
    seen = Observation(AMCHECK, tables, {"public.gone": old}, NOW, Options(budget=timedelta(0)))
    count = plan(seen)[-1]
    assert count.overdue == ()
    assert set(count.kept["unproven"].values()) == {NOW.isoformat()}


def _seen(*provable):
    return Observation(AMCHECK, provable, {}, NOW)
