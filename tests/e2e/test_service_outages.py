"""The service during outages: an unreachable server, a full disk under the state file."""

import json
import signal
import subprocess
import time
from contextlib import contextmanager

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.e2e.service_process import (
    mark_planned_long_ago,
    query,
    running_service,
    runs,
    schedule_now,
)


def is_finished(house, job="analyze", database="main"):
    return [run["state"] for run in runs(house, job, database)[:1]] == ["finished"]


def test_unreachable_server_is_retried_notified_once_and_delays_no_other_database(
    house, scratch, wait, endpoint
):
    folder = scratch / "down"
    folder.mkdir(mode=0o755)
    down = Cluster(folder, embedded_binaries(), {}).create().start()
    down.stop()
    ticket = endpoint()
    house.extra = (
        f'[databases.down]\ndsn = "host={down.socket} port={down.port}'
        ' dbname=postgres user=postgres"\n'
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
        '[routes]\ncritical = ["ticket"]\n'
    )
    schedule_now(house, ["analyze", "integrity_check"])
    with running_service(house):
        wait(lambda: is_finished(house, "integrity_check"))
        assert [run["state"] for run in runs(house, "analyze", "down")] == ["running"]
        wait(lambda: len(ticket.requests) == 1, what="the alert")
        alert = json.loads(ticket.requests[0]["body"])["data"]
        assert (alert["kind"], alert["severity"], alert["database"]) == (
            "database_unreachable",
            "CRITICAL",
            "down",
        )
        time.sleep(2.5)  # for another attempt, which fails and does not notify
        down.start()
        try:
            wait(lambda: runs(house, "integrity_check", "down")[:1], 30, "the run")
            wait(lambda: is_finished(house, "integrity_check", "down"))
            wait(lambda: len(ticket.requests) == 2, what="the resolved notification")
            (row,) = runs(house, "analyze", "down")
            assert row["state"] == "finished"
            assert json.loads(ticket.requests[1]["body"])["data"]["state"] == "resolved"
        finally:
            down.stop("immediate")


@contextmanager
def small_filesystem(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    command = ["dd", "if=/dev/zero", f"of={folder}/fill", "bs=4k"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No space" in done.stderr


def test_service_survives_a_full_disk_under_the_state_file(house, tmp_path, wait):
    """The disk is full when a run is due: the service logs it, and runs when there is space."""
    house.need_state_file()
    with small_filesystem(tmp_path / "small") as small:
        cron = schedule_now(house, ["analyze"])
        path = house.write()
        path.write_text(
            path.read_text().replace(str(house.folder / "state.db"), str(small / "state.db"))
        )
        mark_planned_long_ago(house)
        service = house.start("run")
        wait(lambda: is_finished(house), what="a first run")
        fill(small)
        path.write_text(path.read_text().replace(cron, "* * * * *"))
        service.send_signal(signal.SIGHUP)
        time.sleep(3)  # for the service to exit, if a full disk ended it
        assert service.poll() is None
        (small / "fill").unlink()
        wait(lambda: service.poll() is None and query(house, "status")["service"])
        service.send_signal(signal.SIGHUP)
        wait(
            lambda: len([run for run in runs(house) if run["state"] == "finished"]) >= 2,
            90,
            "the run of the next minute",
        )
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
        output = service.stdout.read()
        service.stdout.close()
        assert "full" in output
        assert "Traceback" not in output
