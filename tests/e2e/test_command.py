"""A program of one's own as a channel: what it is given, what it may answer, and what it does not see."""

import json
import os
import signal
import time

import pytest

from alerts.channels import command
from alerts.channels.channel import DeliveryError, Failure, Sender


@pytest.fixture
def program(tmp_path):
    def make(script, **options):
        path = tmp_path / "tell"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        path.chmod(0o755)
        return command.Command(
            command.Options(type="command", command=(str(path), "an argument"), **options),
            Sender("c"),
        )

    return make


def test_it_gets_the_message_and_says_what_it_calls_it(program, notify, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/canary")
    channel = program('cat > got; env > env; echo "$1" > argument; echo "TICKET 7"; echo more')
    assert channel.deliver(notify(object="<!channel> $(x) `y`")).remote == "TICKET 7"
    said = json.loads((tmp_path / "got").read_text())
    assert (said["id"], said["data"]["object"]) == ("n0123", "<!channel> $(x) `y`")
    assert "canary" not in (tmp_path / "env").read_text()
    assert (tmp_path / "argument").read_text() == "an argument\n"


def test_one_that_does_not_read_may_take_it_all_the_same(program, notify):
    assert program("exec true").deliver(notify(details={"x": "y" * 100_000})).remote == ""


def test_one_that_reads_late_gets_all_of_it(program, notify, tmp_path):
    assert program("sleep 1; wc -c").deliver(notify(details={"x": "y" * 300_000})).remote > "300000"


def test_what_it_complains_of_is_the_reason(program, notify):
    with pytest.raises(DeliveryError, match="status 3: no line to the pager") as caught:
        program("echo no line to the pager >&2; exit 3").deliver(notify())
    assert caught.value.failure is Failure.TRANSIENT


def _gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_that_hangs_is_ended_with_its_children(program, notify, tmp_path, wait):
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="still running after") as caught:
        program("sleep 300 & echo $! > child; wait", timeout_seconds=0.3).deliver(notify())
    assert caught.value.failure is Failure.AMBIGUOUS
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    wait(lambda: _gone(child), 5, "its child's end")


def test_a_child_that_it_leaves_behind_is_not_waited_for(program, notify, tmp_path):
    began = time.monotonic()
    channel = program("echo page 7; sleep 300 & echo $! > child", timeout_seconds=60)
    try:
        assert channel.deliver(notify()).remote == "page 7"
        assert time.monotonic() - began < 20
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_one_that_is_not_there(notify):
    channel = command.Command(
        command.Options(type="command", command=("/nowhere/tell",)), Sender("c")
    )
    with pytest.raises(DeliveryError, match="/nowhere/tell: No such file"):
        channel.deliver(notify())
    with pytest.raises(ValueError, match="absolute path"):
        command.Options(type="command", command=("tell",))
