"""Programs that are asked: bounded in time and output, in the C locale."""

import os
import sys
import time

import pytest

from checks import programs


def test_answer_of_a_program():
    answer = programs.ask(("sh", "-c", "echo $LC_ALL; echo hint >&2"), 9.0)
    assert (answer.code, answer.output, answer.wrong) == (0, "C\n", "")


def test_failure_has_the_last_line_of_its_errors():
    answer = programs.ask(("sh", "-c", "echo first >&2; echo last >&2; exit 3"), 9.0)
    assert (answer.code, answer.wrong) == (3, "last")
    assert programs.ask(("sh", "-c", "exit 3"), 9.0).wrong == "exit code 3"


def test_program_that_does_not_end_is_ended():
    began = time.monotonic()
    assert programs.ask(("sleep", "60"), 0.2).wrong == "no answer within 0 s"
    assert time.monotonic() - began < 30


def test_endless_output_is_cut_off(monkeypatch):
    monkeypatch.setattr(programs, "MOST_BYTES", 1000)
    assert programs.ask(("yes",), 30.0).wrong == "more than 1,000 bytes of output"


def test_program_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        programs.ask(("no-such-program",), 1.0)


def test_process_that_is_left_behind_does_not_hold_the_caller():
    began = time.monotonic()
    assert programs.ask(("sh", "-c", "echo done; sleep 60 & exit 0"), 30.0).output == "done\n"
    assert time.monotonic() - began < 20


def test_program_has_no_terminal_of_the_caller():
    command = "import os; os.close(os.open('/dev/tty', os.O_RDWR))"
    answer = programs.ask((sys.executable, "-c", command), 30.0)
    assert "No such device" in answer.wrong
    session = programs.ask((sys.executable, "-c", "import os; print(os.getsid(0))"), 30.0)
    assert int(session.output) != os.getsid(0)


def test_program_that_closes_its_output_is_still_bounded_in_time():
    answer = programs.ask(("sh", "-c", "exec >&- 2>&-; sleep 60"), 0.3)
    assert answer.wrong == "no answer within 0 s"


def test_errors_are_bounded():
    command = "import sys; sys.stderr.write('x' * 3_000_000 + '\\nlast'); sys.exit(1)"
    assert programs.ask((sys.executable, "-c", command), 30.0).wrong == "last"


def test_standard_input_is_given():
    assert programs.ask(("cat",), 30.0, given=b"abc").output == "abc"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
def test_program_runs_as_another_user():
    answer = programs.ask(("id", "-un"), 30.0, user="nobody")
    assert answer.output == "nobody\n"
    with pytest.raises(KeyError):
        programs.ask(("id",), 30.0, user="no_such_user_here")
