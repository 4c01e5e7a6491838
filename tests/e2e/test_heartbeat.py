"""Heartbeat pings of the service and of schedules, and the watchdog of its threads."""

from daemon.liveness import Watchdog
from tests.e2e.service_process import running_service, schedule_now
from tests.fixtures.secrets import write_secret


def ping_url(house, monitor):
    secret = house.folder / "ping"
    write_secret(secret, f"{monitor.url}/uuid\n")
    return secret


def test_heartbeat_pings_at_start_end_and_while_healthy(house, wait, endpoint):
    monitor = endpoint((200, {}, b"OK"))
    secret = ping_url(house, monitor)
    house.extra = f'[heartbeat]\nurl = {{ file = "{secret}" }}\nevery = "1s"\n'
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    schedule_now(house, ["analyze"], f'heartbeat = {{ file = "{secret}" }}')
    with running_service(house, WATCHDOG_USEC="1500000"):
        wait(lambda: len(monitor.requests) >= 4, what="the pings")
    paths = [request["path"] for request in monitor.requests]
    assert (paths[0], set(paths[1:])) == ("/uuid/start", {"/uuid"})
    assert {request["body"] for request in monitor.requests} == {b""}


def test_heartbeat_reports_a_failing_channel(house, wait, endpoint):
    monitor = endpoint((200, {}, b"OK"))
    secret = ping_url(house, monitor)
    house.extra = (
        f'[heartbeat]\nurl = {{ file = "{secret}" }}\nevery = "1s"\n'
        f'[channels.ticket]\ntype = "webhook"\nurl = "{endpoint((400, {}, b"")).url}/"\n'
        '[routes]\nhigh = ["ticket"]\n'
    )
    house.with_logins = False
    house.sereno("alerts", "test")
    with running_service(house, WATCHDOG_USEC="1500000"):
        wait(lambda: monitor.requests, what="the ping")
    (first, *_) = monitor.requests
    assert (first["path"], first["body"]) == ("/uuid/fail", b"channel ticket delivers nothing")


def test_watchdog_names_the_thread_without_a_heartbeat():
    now = [0.0]
    watchdog = Watchdog(lambda: now[0])
    watchdog.beat("courier slack", 300)
    watchdog.beat("run 7", 600)
    now[0] = 299
    assert watchdog.silent() == ""
    now[0] = 601
    watchdog.beat("courier slack", 300)
    assert watchdog.silent() == "no heartbeat from run 7 for 1 s longer than expected"
    watchdog.end("run 7")
    assert watchdog.silent() == ""
