"""Alerts of checks, pairs and databases that leave the configuration are resolved."""

import pytest

from alerts import alert_store
from daemon.left_configuration import resolve_what_left
from domain.finding import Finding, Identity, Severity


def open_alerts(context):
    with context.store.reading() as transaction:
        return {(one.kind, one.database, one.object) for one in alert_store.load_open(transaction)}


def find(context, *found):
    findings = [
        Finding(Identity(kind, "sereno", "", database, name), Severity.HIGH, "found")
        for kind, database, name in found
    ]
    context.process_findings(findings, ())


@pytest.fixture
def house(house):
    house.with_logins = False
    return house


PAIR = '[[checks.orphans]]\nchild = "public.c(a)"\nparent = "public.p(a)"\n'


@pytest.mark.parametrize(
    ("before", "after", "alert"),
    [
        (PAIR, "", ("orphans", "main", "public.c (a) -> public.p (a)")),
        ("", "", ("my_old_check", "main", "public.t")),
        ("", "", ("wraparound", "old_database", "old_database")),
        ("", "", ("btree_corruption", "old_database", "public.i")),
        ("", "", ("database_unreachable", "old_database", "")),
    ],
)
def test_alert_that_nothing_looks_for_any_more_is_resolved(house, before, after, alert):
    house.extra = before
    find(house.context(), alert)
    house.extra = after
    context = house.context()
    assert open_alerts(context) == {alert}
    resolve_what_left(context)
    assert open_alerts(context) == set()


def test_alerts_of_what_is_configured_stay_open(house):
    house.extra = PAIR
    context = house.context()
    kept = {
        ("orphans", "main", "public.gone (a) -> public.p (a)"),  # the next run resolves it
        ("wraparound", "main", "main"),
        ("heap_corruption", "main", "public.t"),
        ("task_failed", "main", ""),
        ("disk", "", "/"),
    }
    find(context, *kept)
    before = open_alerts(context)
    resolve_what_left(context)
    assert open_alerts(context) == before


def test_alert_of_an_excluded_check_is_resolved(house):
    house.extra = PAIR
    find(house.context(), ("orphans", "main", "x"))
    house.exclude = ["orphans"]
    context = house.context()
    resolve_what_left(context)
    assert open_alerts(context) == set()


def test_alert_about_a_tenant_that_is_not_declared_any_more_is_resolved(house):
    house.database_lines = 'tenant = "coop_id"\n'
    find(house.context(), ("tenant_rls", "main", "public.t"))
    resolve_what_left(house.context())
    assert open_alerts(house.context()) == {("tenant_rls", "main", "public.t")}
    house.database_lines = ""
    resolve_what_left(house.context())
    assert open_alerts(house.context()) == set()


def test_pairs_of_another_database_keep_no_alert_open(house):
    house.extra = PAIR
    find(house.context(), ("orphans", "main", "x"))
    house.extra = PAIR + 'database = "other"\n[databases.other]\ndsn = "host=/nowhere dbname=o"\n'
    context = house.context()
    resolve_what_left(context)
    assert open_alerts(context) == set()


def test_excluded_check_of_another_job_goes_on(house):
    context = house.context()
    find(context, ("disk", "", "/"))
    house.exclude = ["disk"]
    excluded = house.context()
    resolve_what_left(excluded)
    assert open_alerts(excluded) == {("disk", "", "/")}
