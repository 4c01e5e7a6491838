"""A server with several databases: one alert when it does not answer, and its session limit."""

import pytest

from alerts import alert_store
from daemon.runs.reaching import judge_reached, judge_unreachable
from domain.finding import Finding, Identity, Severity
from postgres.session import MAINTAIN, UnreachableError, open_session


@pytest.fixture
def away(house):
    """A context of three databases: two on a server that does not answer, one that answers."""
    house.with_logins = False
    house.extra = "".join(
        f'[databases.{name}]\ndsn = "host=/nowhere dbname={name}"\n' for name in ("one", "two")
    )
    return house.context()


def open_alerts(context):
    with context.store.reading() as transaction:
        return {alert.kind: alert for alert in alert_store.load_open(transaction)}


def unreachable(context, database):
    with (
        pytest.raises(UnreachableError) as refused,
        open_session(context.target(database), MAINTAIN, "test"),
    ):
        pass
    return refused.value


def test_server_that_does_not_answer_is_one_alert_that_names_its_databases(away, house):
    done = house.sereno("now", "analyze")
    assert done.returncode == 1
    alerts = open_alerts(away)
    assert alerts.keys() == {"server_unreachable"}
    alert = alerts["server_unreachable"]
    assert (alert.database, alert.object) == ("", "/nowhere:5432")
    assert "its databases: one, two" in alert.summary
    assert alert.summary.startswith("connection"), "the one that was tried is not in front"


def test_database_that_refuses_its_login_is_an_alert_of_its_own(house):
    house.with_logins = False
    text = house.write().read_text()
    dsn = next(line for line in text.splitlines() if line.startswith("dsn"))
    house.extra = f"[databases.gone]\n{dsn.replace('dbname=', 'dbname=no_such_')}\n"
    context = house.context()
    error = unreachable(context, "gone")
    assert not error.of_server, "the server answers"
    (found,) = judge_unreachable(context.policy, "gone", error).findings
    assert (found.kind, found.identity.database) == ("database_unreachable", "gone")


def test_other_alerts_of_its_databases_are_inhibited_until_one_of_them_answers(away):
    error = unreachable(away, "one")
    verdict = judge_unreachable(away.policy, "one", error)
    away.process_findings(verdict.findings, verdict.coverage)
    broken = [
        Finding(Identity("orphans", away.config.daemon.name, database=name), Severity.HIGH, "b")
        for name in ("two", "main")
    ]
    away.process_findings(broken, [])
    with away.store.reading() as transaction:
        quiet = {a.database: a.suppressed_by for a in alert_store.load_open(transaction)}
    assert quiet["two"] == "inhibited: the server /nowhere:5432 is unreachable"
    assert quiet["main"] == ""
    reached = judge_reached(away.policy, "two")
    away.process_findings([broken[0]], reached.coverage)
    assert "server_unreachable" not in open_alerts(away)
    with away.store.reading() as transaction:
        quiet = {a.database: a.suppressed_by for a in alert_store.load_open(transaction)}
    assert quiet["two"] == ""
