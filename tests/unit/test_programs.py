"""Programs that are asked: bounded in time and output, in the C locale."""

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
