"""Invariants of alerting under random events, failing channels and process kills.

`make prove` runs ten thousand sequences.
"""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.faults.alert_model import AlertModel, run_sequence, sequences

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
MEMORY_FOLDER = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)  # noqa: S108 - in memory, in a private folder


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(sequences)
def test_invariants_hold_for_any_sequence_of_events(sequence):
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        run_sequence(AlertModel(Path(folder) / "state.db"), sequence)


EMPTY = "TRUNCATE alert, event, notification, conversation, silence RESTART IDENTITY CASCADE"


def test_invariants_hold_with_the_state_in_a_database(state_databases, tmp_path):
    store = state_databases.open(tmp_path / "state.db")

    @settings(max_examples=15, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(sequences)
    def holds(sequence):
        with store.transaction() as transaction:
            transaction.execute(EMPTY)
        run_sequence(AlertModel(None, store), sequence)

    holds()
