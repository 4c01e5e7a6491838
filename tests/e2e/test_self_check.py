"""The self-check that the heartbeat reports: missing runs, waiting messages, failed channels."""

from datetime import timedelta

from daemon.history import history
from daemon.monitoring.self_check import self_check
from domain.task import Scope, Task, Trigger

INSERT_MESSAGE = (
    "INSERT INTO notification (id, channel, reason, severity, message, created_at, not_before, state)"
    " VALUES ('1', 'pager', 'opened', ?, '{}', ?, '', 'pending')"
)


def test_self_check_finds_nothing_in_a_new_service(house):
    assert self_check(house.context()) == []


def test_due_run_without_record_is_reported_unless_the_schedule_is_busy(house):
    context = house.context()
    task = Task("analyze", Scope.DATABASE, "main", Trigger("daily"))
    long_ago = context.clock() - timedelta(days=9)
    with context.store.transaction() as transaction:
        history.remember_planned(
            transaction, str(context.config.timetable["daily"].cron), {task: long_ago}
        )
    (problem,) = self_check(context)
    assert problem.startswith("analyze main of ")
    assert problem.endswith("(daily) has no recorded run")
    assert self_check(context, busy={"daily"}) == []


def test_waiting_message_is_reported_by_its_severity(house):
    context = house.context()
    old = context.clock() - timedelta(minutes=30)
    with context.store.transaction() as transaction:
        transaction.execute(INSERT_MESSAGE, ("high", f"{old:%Y-%m-%dT%H:%M:%S}.000000Z"))
    assert self_check(context) == []
    with context.store.transaction() as transaction:
        transaction.execute("UPDATE notification SET severity = 'critical'")
    (problem,) = self_check(context)
    assert problem == "a critical message has been waiting for channel pager for 30 min"
