"""The state of gates: evidence, soak, attestations, two people, waivers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations.evidence import Evidence, EvidenceError, make_key, public_key_of
from migrations.format import Kind, Manifest, Migration, Phase, SqlFile
from migrations.gates import (
    APPROVED,
    LOCAL,
    WAIVED,
    GateFacts,
    Recorded,
    Rehearsed,
    closed_before,
    gates_of,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LADDER = ("staging", "production")


def migration():
    files = {
        f"{phase.value}.sql": SqlFile(
            f"{phase.value}.sql", Kind.TRANSACTION, phase, "", checksum="1"
        )
        for phase in Phase
    }
    for phase in Phase:
        name = f"{phase.value}.rollback.sql"
        files[name] = SqlFile(name, Kind.ROLLBACK, phase, "", checksum="1")
    return Migration("0001_x", Manifest(title="x"), files, "")


def evidence(**changes):
    values = {
        "migration": "0001_x", "checksum": migration().checksum, "rung": "staging",
        "system_identifier": "1", "server_version": "18", "phase": "purge",
        "round_trips": ("prepare", "tighten", "cleanup", "purge"),
        "rehearsed_at": (NOW - timedelta(days=2)).isoformat(), "at": (NOW - timedelta(days=1)).isoformat(),
    }  # fmt: skip
    return Evidence(**(values | changes))


def facts(**changes):
    recorded = [
        Recorded(gate, APPROVED, who, "done", NOW)
        for gate, who in (
            *((f"begin.{one}", LOCAL) for one in ("backup", "window", "support")),
            *(("cleanup.old-application", "eva"), ("cleanup.approval", "eva")),
            *(("purge.backup", "eva"), ("purge.approval", "eva")),
        )
    ]
    made = GateFacts(
        environment="production",
        ladder=LADDER,
        now=NOW,
        rehearsed=Rehearsed(ok=True, embedded=False, at=NOW),
        lower=evidence(),
        recorded=recorded,
        completed=dict.fromkeys(Phase, NOW - timedelta(days=2)),
        soak=timedelta(days=1),
        principal="ana",
        has_principals=True,
        system_identifier="2",
        server_version="18",
    )
    return replace(made, **changes)


def closed(**changes):
    return {one.name: one.missing for one in gates_of(migration(), facts(**changes)) if one.missing}


def test_all_gates_are_open_with_all_that_they_ask_for():
    assert closed() == {}
    assert len(gates_of(migration(), facts())) == 13


def test_first_environment_has_no_gates_and_only_the_last_is_attested():
    assert gates_of(migration(), facts(environment="staging")) == []
    middle = facts(environment="staging", ladder=("testing", "staging", "production"))
    assert not [one for one in gates_of(migration(), middle) if one.kind == "attested"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"checksum": "2"}, "another version of the files"),
        ({"system_identifier": "2"}, "this very server"),
        ({"server_version": "17"}, "PostgreSQL 17, this is 18"),
        ({"at": (NOW - timedelta(days=15)).isoformat()}, "was signed at"),
        ({"at": (NOW + timedelta(hours=1)).isoformat()}, "was signed at"),
        ({"phase": "prepare"}, "ends with prepare: first apply"),
        ({"phase": "gone"}, "ends with gone"),
        ({"round_trips": ("prepare",)}, "no rehearsal that was rolled back from"),
        ({"rung": "testing"}, "is of 0001_x in testing"),
    ],
)
def test_evidence_of_something_else_opens_nothing(changes, sentence):
    missing = closed(lower=evidence(**changes))
    assert set(missing) >= {"cleanup.rung", "purge.rung"}
    assert all(sentence in text for name, text in missing.items() if name.endswith(".rung"))


@pytest.mark.parametrize(
    ("rehearsed", "sentence"),
    [
        (None, "not rehearsed"),
        (Rehearsed(ok=True, embedded=True, at=NOW), "embedded server only"),
        (Rehearsed(ok=False, embedded=False, at=NOW), "found problems"),
        (Rehearsed(ok=True, embedded=False, at=NOW - timedelta(days=15)), "is 360 h old"),
    ],
)
def test_rehearsal_has_to_be_true_whole_and_young(rehearsed, sentence):
    assert sentence in closed(rehearsed=rehearsed)["begin.rehearsal"]


def test_soak_counts_from_the_phase_before():
    missing = closed(completed=dict.fromkeys(Phase, NOW - timedelta(hours=1)))
    assert missing["cleanup.soak"] == "23 h left since tighten is complete"
    assert "is not complete" in closed(completed={})["cleanup.soak"]


names = st.sampled_from(["ana", "eva", "iker", LOCAL])


@given(st.lists(names, max_size=4), names, st.booleans())
def test_two_different_people_are_needed(approvers, applies, has_principals):
    """One approves, another applies; without principals configured, local is one of the two."""
    recorded = [Recorded("cleanup.approval", APPROVED, who, "", NOW) for who in approvers]
    found = facts(recorded=recorded, principal=applies, has_principals=has_principals)
    gate = next(one for one in gates_of(migration(), found) if one.name == "cleanup.approval")
    others = set(approvers) - {applies} - ({LOCAL} if has_principals else set())
    named = applies != LOCAL or not has_principals
    assert (gate.state == "open") == bool(others and named)


@given(st.sampled_from([one.name for one in gates_of(migration(), facts())]))
def test_waiver_opens_its_own_gate_only(name):
    nothing = facts(rehearsed=None, lower=None, completed={}, recorded=[])
    waived = replace(nothing, recorded=[Recorded(name, WAIVED, "eva", "why", NOW)])
    before = {one.name for one in gates_of(migration(), nothing) if one.state == "closed"}
    after = {one.name for one in gates_of(migration(), waived) if one.state == "closed"}
    assert before - after == {name}


def test_gates_guard_their_own_phases():
    gates = gates_of(migration(), facts(recorded=[], lower=None))
    guarded = {one.guards for one in closed_before(gates, [Phase.DATA, Phase.PURGE])}
    assert guarded == {"begin", "purge"}


def test_gates_that_are_behind_are_not_shown_and_passed_ones_stay_open():
    begun = facts(recorded=[], rehearsed=None, lower=None, complete=Phase.PREPARE)
    assert any(one.missing for one in gates_of(migration(), begun) if one.guards == "begin")
    passed = replace(
        begun,
        passed=frozenset(
            f"begin.{one}" for one in ("rehearsal", "rung", "backup", "window", "support")
        ),
    )
    assert not any(one.missing for one in gates_of(migration(), passed) if one.guards == "begin")
    behind = replace(begun, complete=Phase.TIGHTEN)
    assert {one.guards for one in gates_of(migration(), behind)} == {"cleanup", "purge"}


def test_migration_of_purge_alone_needs_a_rehearsal_too():
    whole = migration()
    files = {name: one for name, one in whole.files.items() if name.startswith("purge")}
    only = replace(whole, files=files)
    gates = gates_of(only, facts(recorded=[], rehearsed=None, lower=None))
    assert {one.name for one in closed_before(gates, [Phase.PURGE])} >= {
        "begin.rehearsal",
        "begin.support",
    }


@given(names, names)
def test_waiver_of_an_approval_is_no_second_person(waives, applies):
    recorded = [Recorded("cleanup.approval", WAIVED, waives, "why", NOW)]
    found = facts(recorded=recorded, principal=applies)
    gate = next(one for one in gates_of(migration(), found) if one.name == "cleanup.approval")
    assert (gate.state == "waived") == (LOCAL not in {waives, applies} and waives != applies)


def test_signature_covers_every_value():
    private, public = make_key()
    assert public_key_of(private) == public
    import json

    signed = evidence().signed(private)
    assert Evidence.verified(json.dumps(signed).encode(), public).phase == "purge"
    for name in evidence().__dataclass_fields__:
        forged = json.dumps(signed | {name: "other"}).encode()
        with pytest.raises(EvidenceError, match="not of the listed key"):
            Evidence.verified(forged, public)
    with pytest.raises(EvidenceError, match="not of the listed key"):
        Evidence.verified(json.dumps(signed).encode(), make_key()[1])


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_text_is_taken_for_evidence(text):
    with pytest.raises(EvidenceError, match="no evidence"):
        Evidence.verified(text, make_key()[1])


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"signature": 5}', b"[1]", b'{"signature": ""}']
)
def test_hostile_json_is_no_evidence(text):
    with pytest.raises(EvidenceError):
        Evidence.verified(text, make_key()[1])


def test_old_rehearsal_of_the_rung_below_stops_only_the_beginning():
    """Weeks may lie between the rehearsal and purge there; nothing could be rehearsed again."""
    missing = closed(lower=evidence(rehearsed_at=(NOW - timedelta(days=40)).isoformat()))
    assert set(missing) == {"begin.rung"}
    assert "was rehearsed at" in missing["begin.rung"]
