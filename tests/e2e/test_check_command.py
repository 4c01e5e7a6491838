"""`sereno check`: ignored objects, the output of a Nagios plugin, the queries."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from daemon.cli.nagios_output import State, nagios_output
from domain.finding import Finding, Identity, Severity


@pytest.fixture
def ill(house):
    house.with_logins = False
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 95)")
    return house


def ignore(house, pattern, days):
    until = datetime.now(UTC).date() + timedelta(days=days)
    house.extra = (
        f"[[checks.sequence_exhaustion.ignore]]\nobject = '{pattern}'\nuntil = {until}\n"
        'reason = "wraps on purpose"\n'
    )


@pytest.mark.parametrize("pattern", ["public.s", "public.*", "*"])
def test_ignored_object_is_named_and_its_alert_ends(ill, pattern):
    ill.run("integrity_check")
    ignore(ill, pattern, days=1)
    assert ill.run("integrity_check")["findings"] == []
    done = ill.sereno("check", "sequence_exhaustion")
    assert done.returncode == 0
    assert f"ignored  sequence_exhaustion {pattern} until" in done.stdout
    assert "wraps on purpose" in " ".join(done.stdout.split())


@pytest.mark.parametrize("pattern", ["public.x", "public", "s"])
def test_other_objects_are_told(ill, pattern):
    ignore(ill, pattern, days=1)
    assert len(ill.run("integrity_check")["findings"]) == 1


def test_expired_entry_is_noted_and_the_finding_is_back(ill):
    ignore(ill, "public.s", days=-1)
    assert len(ill.run("integrity_check")["findings"]) == 1
    done = ill.sereno("config", "check")
    assert "checks.sequence_exhaustion.ignore[0]: ended on" in done.stderr


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ('{ object = "a", until = 2027-01-31 }', "ignore[0].reason: is required"),
        ('{ object = "a", until = "soon", reason = "x" }', "ignore[0].until: must be a day like"),
        ('{ object = "", until = 2027-01-31, reason = "x" }', "ignore[0].object: must not be"),
        ('{ object = "a", until = 2027-01-31, reasn = "x" }', "ignore[0].reasn"),
    ],
)
def test_wrong_entries_are_refused(ill, entry, wrong):
    ill.extra = f"[checks.wraparound]\nignore = [{entry}]\n"
    done = ill.sereno("config", "check", check=False)
    assert done.returncode == 78
    assert f"checks.wraparound.{wrong}" in done.stderr


def test_output_of_a_nagios_plugin(ill):
    done = ill.sereno("check", "sequence_exhaustion", "--output", "nagios", check=False)
    assert done.returncode == State.CRITICAL
    assert re.fullmatch(
        r"SERENO CRITICAL - HIGH sequence_exhaustion main public\.s: 95\.0 % used.*"
        r" \| critical=0 high=1 warning=0 info=0\n",
        done.stdout,
    )
    done = ill.sereno("check", "wraparound", "--output", "nagios")
    assert (done.returncode, done.stdout) == (
        State.OK,
        "SERENO OK - nothing found | critical=0 high=0 warning=0 info=0\n",
    )


def test_plugin_that_sees_nothing_is_unknown(ill):
    def plugin(*arguments):
        done = ill.sereno("check", *arguments, "--output", "nagios", check=False)
        assert done.returncode == State.UNKNOWN
        assert done.stdout.startswith("SERENO UNKNOWN - ") or not done.stdout
        return done.stdout + done.stderr

    assert "there is no check 'wrapround'" in plugin("wrapround")
    assert "leave out the other option" in plugin("wraparound", "--json")
    assert "no database 'lost'" in plugin("wraparound", "--database", "lost")
    ill.extra = "[checks.wraparound]\nwarning = 'much'\n"
    assert "checks.wraparound.warning" in plugin("wraparound")


def test_skipped_check_of_a_plugin_is_unknown(house):
    house.install()
    house.database.run(f'REVOKE pg_monitor FROM "{house.maintain}"')
    done = house.sereno("check", "long_transaction", "--output", "nagios", check=False)
    assert done.returncode == State.UNKNOWN
    assert "not a member of pg_monitor" in done.stdout


def test_state_of_a_plugin_is_that_of_its_worst_finding():
    def state(*severities, failures=()):
        found = [Finding(Identity("k", "i", object="a|b"), one, "x | y\nz") for one in severities]
        text, code = nagios_output(found, failures)
        assert text.count("|") == 1
        return code

    assert state() == State.OK
    assert state(Severity.INFO) == State.OK
    assert state(Severity.WARNING, Severity.INFO) == State.WARNING
    assert state(Severity.HIGH, Severity.WARNING) == State.CRITICAL
    assert state(Severity.WARNING, failures=["it | cannot"]) == State.UNKNOWN
    assert state(Severity.CRITICAL, failures=["it cannot"]) == State.CRITICAL


def test_queries_are_printed_as_they_run(ill):
    ill.extra = "[checks.wraparound]\nwarning = 0.33\n"
    text = ill.sereno("check", "wraparound", "--sql").stdout
    assert "least(0.33, 0.45, 0.7)" in text
    assert ill.database.rows(text) == []
    assert ill.sereno("check", "--sql").stdout.count("-- ") >= 50
    assert json.loads(ill.sereno("check", "wraparound", "--output", "json").stdout)["ignored"] == []
