"""Whatever happens, in whatever order: what is owed arrives, once if it can be, and who was told hears the end.

`make prove` does the same with ten thousand sequences.
"""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.faults.alert_world import World, live, sequences

SHARED = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)  # noqa: S108 - quick, and private


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(sequences)
def test_whatever_happens(sequence):
    with tempfile.TemporaryDirectory(dir=SHARED) as folder:
        live(World(Path(folder) / "state.db"), sequence)
