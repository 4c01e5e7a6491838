"""Fixtures of several test modules of this folder."""

import pytest

from tests.postgres.archive_table import event, history  # noqa: F401 - fixtures
from tests.postgres.attacker import attack, owners  # noqa: F401 - fixtures
from tests.postgres.log_table import log  # noqa: F401 - fixtures
from tests.postgres.migration_folder import any_migrating, migrating  # noqa: F401 - fixtures


@pytest.fixture
def run_reindex(any_house):
    any_house.with_logins = False

    def run(**options):
        """Run vacuum; return status and reason of each reindex and drop step."""
        steps = any_house.run("vacuum", **options)["steps"]
        return {
            (step["name"], step["object"]): (step["status"], step["reason"])
            for step in steps
            if step["name"] in {"reindex", "drop"}
        }

    return run
