"""Invariants of alerting under random events, failing channels and process kills.

`make prove` runs ten thousand sequences.
"""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.faults.alert_model import AlertModel, run_sequence, sequences

MEMORY_FOLDER = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)  # noqa: S108 - in memory, in a private folder


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(sequences)
def test_invariants_hold_for_any_sequence_of_events(sequence):
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        run_sequence(AlertModel(Path(folder) / "state.db"), sequence)
