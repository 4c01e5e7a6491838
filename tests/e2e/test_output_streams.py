"""Standard output and error that are closed, or cannot show every character."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.service_process import query, runs, schedule_now

ROOT = Path(__file__).parents[2]


def test_service_goes_on_when_the_reader_of_its_log_is_gone(house, wait):
    schedule_now(house, ["analyze"])
    reader, writer = os.pipe()
    os.close(reader)
    service = subprocess.Popen(
        [sys.executable, "-m", "daemon", "run", "--config", str(house.write())],
        stdout=writer,
        stderr=writer,
        cwd=ROOT,
    )
    os.close(writer)
    try:
        wait(lambda: [run["state"] for run in runs(house)[:1]] == ["finished"], what="the run")
        assert query(house, "status")["service"]
        service.send_signal(signal.SIGTERM)
        assert service.wait(15) == 0
    finally:
        service.kill()
        service.wait()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "Ä 中"), ("latin-1", "Ä \\u4e2d"), ("utf-8", "Ä 中")]
)
def test_output_never_fails_on_an_encoding(house, encoding, shown):
    house.with_logins = False
    house.database.run(
        'CREATE TABLE public."Ä 中" (a int); INSERT INTO public."Ä 中" SELECT generate_series(1, 5000)'
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    read_as = "latin-1" if encoding == "latin-1" else "utf-8"
    done = house.sereno("plan", "analyze", "--steps", env=environment, encoding=read_as)
    assert done.returncode == 0
    assert shown in done.stdout
