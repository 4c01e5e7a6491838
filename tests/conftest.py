"""Shared fixtures, server parametrization and the report of flaky tests."""

from hypothesis import settings

from tests.fixtures.groups import group, prepared_group  # noqa: F401 - fixtures
from tests.fixtures.house import any_house, house, make_house  # noqa: F401 - fixtures
from tests.fixtures.network import endpoint, notify  # noqa: F401 - fixtures
from tests.fixtures.servers import (  # noqa: F401 - fixtures
    INSTALLATIONS,
    any_database,
    any_server,
    clusters,
    database,
    flush,
    make_database,
    scratch,
    server,
)
from tests.fixtures.state import any_state, state_databases  # noqa: F401 - fixtures
from tests.fixtures.values import control, few_attempts, table  # noqa: F401 - fixtures
from tests.fixtures.waiting import wait  # noqa: F401 - fixtures

# Machines are shared, so a slow example is not a failure.
settings.register_profile("sereno", deadline=None)
settings.load_profile("sereno")


def pytest_generate_tests(metafunc):
    """Run tests that use `any_server` on every installed server."""
    if "any_server" in metafunc.fixturenames:
        metafunc.parametrize("any_server", list(INSTALLATIONS), indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter):
    """List the tests that failed first and passed when rerun."""
    again = {report.nodeid for report in terminalreporter.stats.get("rerun", ())}
    failed = {report.nodeid for report in terminalreporter.stats.get("failed", ())}
    for name in sorted(again - failed):
        terminalreporter.write_line(f"FLAKY {name}", yellow=True)
