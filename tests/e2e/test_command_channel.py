"""The command channel: input, ticket key, exit status, timeout, environment."""

import json
import os
import resource
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


def test_command_reads_the_message_and_returns_the_ticket_key(
    program, notify, tmp_path, monkeypatch
):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/canary")
    channel = program('cat > got; env > env; echo "$1" > argument; echo "TICKET 7"; echo more')
    assert channel.deliver(notify(object="<!channel> $(x) `y`")).remote == "TICKET 7"
    body = json.loads((tmp_path / "got").read_text())
    assert (body["id"], body["data"]["object"]) == ("n0123", "<!channel> $(x) `y`")
    assert "canary" not in (tmp_path / "env").read_text()
    assert (tmp_path / "argument").read_text() == "an argument\n"


def test_command_may_exit_without_reading_its_input(program, notify):
    assert program("exec true").deliver(notify(details={"x": "y" * 100_000})).remote == ""


def test_command_that_reads_late_receives_the_whole_message(program, notify, tmp_path):
    assert program("sleep 1; wc -c").deliver(notify(details={"x": "y" * 300_000})).remote > "300000"


def test_command_standard_error_becomes_the_failure_reason(program, notify):
    with pytest.raises(DeliveryError, match="status 3: no line to the pager") as caught:
        program("echo no line to the pager >&2; exit 3").deliver(notify())
    assert caught.value.failure is Failure.TRANSIENT


def _has_exited(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_command_timeout_kills_the_process_group(program, notify, tmp_path, wait):
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="still running after") as caught:
        program("sleep 300 & echo $! > child; wait", timeout_seconds=0.3).deliver(notify())
    assert caught.value.failure is Failure.AMBIGUOUS
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    wait(lambda: _has_exited(child), 5, "the exit of the child")


def test_command_does_not_wait_for_background_children(program, notify, tmp_path):
    began = time.monotonic()
    channel = program("echo page 7; sleep 300 & echo $! > child", timeout_seconds=60)
    try:
        assert channel.deliver(notify()).remote == "page 7"
        assert time.monotonic() - began < 20
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_command_that_does_not_exist_fails_the_delivery(notify):
    channel = command.Command(
        command.Options(type="command", command=("/nowhere/tell",)), Sender("c")
    )
    with pytest.raises(DeliveryError, match="/nowhere/tell: No such file"):
        channel.deliver(notify())
    with pytest.raises(ValueError, match="absolute path"):
        command.Options(type="command", command=("tell",))


def test_endless_output_of_a_command_is_dropped_beyond_its_beginning(program, notify):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    channel = program("echo TICKET-1; head -c 500000000 /dev/zero; exit 0", timeout_seconds=60)
    assert channel.deliver(notify()).remote == "TICKET-1"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
