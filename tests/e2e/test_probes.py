"""Probes between runs: a server that stops answering is alerted, and resolved when it is back."""

import pytest

from alerts import alert_store
from daemon.history import pause
from daemon.scheduling.probes import ALL_SECONDS, Probes, look
from domain.task import Scope, Task


@pytest.fixture
def probing(house, wait):
    """Return a function that probes once after some seconds and returns the open alerts."""
    house.with_logins = False
    probed, moment = house.context(), [0.0]
    probes = Probes(lambda: moment[0])

    def probe(context, seconds=ALL_SECONDS, busy=()):
        moment[0] += seconds
        probes.start(context, busy)
        wait(lambda: probes._thread is None or not probes._thread.is_alive(), what="the probes")
        with probed.store.reading() as transaction:
            return [alert.kind for alert in alert_store.load_open(transaction)]

    return probe


def moved(house, path):
    """Return a context whose server is at another place."""
    reachable = house.write().read_text()
    house.path.write_text(reachable.replace("host=/", f"host={path}/"))
    house.write, before = lambda: house.path, house.write
    context = house.context()
    house.write = before
    return context


def test_server_that_does_not_answer_twice_is_alerted_until_it_is_back(house, probing):
    well, away = house.context(), moved(house, "/nowhere")
    assert probing(well) == []
    assert probing(away) == []
    assert probing(away, 60.0) == ["database_unreachable"]
    assert probing(away, 60.0) == ["database_unreachable"]
    assert probing(well, 60.0) == []


def test_single_silence_a_run_and_a_pause_open_no_alert(house, probing):
    well, away = house.context(), moved(house, "/nowhere")
    assert probing(away) == []
    assert probing(well, 60.0) == []
    assert probing(away) == []
    assert probing(away, 60.0, busy={"main"}) == []
    with well.store.transaction() as transaction:
        pause.pause(transaction, None, "maintenance of the server", well.clock())
    assert probing(away, 60.0) == []


def test_alert_is_resolved_during_a_pause(house, probing):
    well, away = house.context(), moved(house, "/nowhere")
    assert probing(away) == []
    assert probing(away, 60.0) == ["database_unreachable"]
    with well.store.transaction() as transaction:
        pause.pause(transaction, None, "maintenance of the server", well.clock())
    assert probing(well, 60.0) == []


def test_watched_checks_open_and_resolve_alerts_without_a_run(house, probing):
    house.extra = "[checks.connections_near_limit]\nwarning = 0.001\nhigh = 0.9\n"
    near, well = house.context(), None
    assert probing(near) == ["connections_near_limit"]
    assert probing(near, 60.0) == ["connections_near_limit"]  # looked at every five minutes only
    house.extra = ""
    well = house.context()
    assert probing(well, 60.0) == ["connections_near_limit"]
    assert probing(well, busy={"main"}) == []
    with well.store.reading() as transaction:
        assert transaction.rows("SELECT * FROM run") == []


def test_state_that_cannot_be_read_during_a_look_does_not_end_the_probes(house):
    house.with_logins = False
    context = house.context()
    house.states.take_away(house.folder / "state.db")
    task = Task("integrity_check", Scope.DATABASE, "main")
    assert look(context, task, ["connections_near_limit"]) == []


def test_no_check_is_watched_during_a_pause_or_with_an_empty_list(house, probing):
    house.extra = "[checks.connections_near_limit]\nwarning = 0.001\nhigh = 0.9\n"
    context = house.context()
    with context.store.transaction() as transaction:
        pause.pause(transaction, None, "maintenance of the server", context.clock())
    assert probing(context) == []
    with context.store.transaction() as transaction:
        pause.resume(transaction)
    house.extra += "[watch]\nchecks = []\n"
    assert probing(house.context()) == []


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (
            '["wrapround"]',
            "watch.checks[0]: there is no check 'wrapround'; did you mean 'wraparound'?",
        ),
        ('["foreign_keys"]', "watch.checks: 'foreign_keys' reads tables"),
    ],
)
def test_checks_that_cannot_be_watched_are_refused(house, names, wrong):
    house.extra = f"[watch]\nchecks = {names}\n"
    done = house.sereno("config", "check", check=False)
    assert done.returncode == 78
    assert wrong in done.stderr
