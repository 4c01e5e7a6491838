"""The plan of `corruption_check`: order, budget, ranges of large tables, overdue proofs."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from checks.corruption import Amcheck, Provable
from domain.memory import Memory
from jobs.corruption_check import (
    LANES,
    RANGE_PAGES,
    CountProofs,
    Observation,
    Options,
    plan,
)
from jobs.steps.verify_object import VerifyObject
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
)


def verified(steps):
    return [step for step in steps if isinstance(step, VerifyObject)]


@given(observations)
def test_plan_stays_within_its_budget_and_always_makes_progress(seen):
    steps = verified(plan(seen))
    spent = sum(step.predicted_seconds for step in steps[1:])
    assert spent <= LANES * seen.options.budget.total_seconds()
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


@given(observations)
def test_damaged_objects_come_first_then_the_oldest_proofs(seen):
    keys = []
    for step in verified(plan(seen)):
        memory = seen.memory.get(step.object)
        damaged = memory is not None and memory.evidence["damaged"]
        sound = memory and not damaged and memory.evidence["filenode"] == step.proof.filenode
        keys.append((not damaged, memory.at if sound else datetime.min.replace(tzinfo=UTC)))
    assert keys == sorted(keys)


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


def test_dropped_damaged_object_resolves_its_alert():
    memory = Memory(1.0, 0, {"kind": "btree", "filenode": 1, "damaged": True}, NOW)
    (count,) = plan(Observation(AMCHECK, [], {"public.gone": memory}, NOW))
    assert isinstance(count, CountProofs)
    assert [(one.kind, one.object) for one in count.dropped] == [
        ("btree_corruption", "public.gone")
    ]


def _seen(*provable):
    return Observation(AMCHECK, provable, {}, NOW)
