"""Which databases a group has: entries of their own, other groups, older answers, changed patterns."""

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from psycopg.conninfo import make_conninfo

from daemon.bootstrap import renewed
from daemon.config.groups import one_per_server
from daemon.discovery import ask, look_for_databases
from daemon.history import found_databases, history
from daemon.left_configuration import resolve_what_left
from daemon.membership import record_answers
from daemon.runs.runner import Runner
from daemon.runs.sessions import record_prepared
from daemon.scheduling.tasks import known_since
from domain.finding import Finding, Identity, Severity
from domain.task import NOW, Scope, Task
from execution.progress import NoProgress
from execution.window import open_window
from tests.fixtures.groups import at, look, open_alerts


def broken(name):
    return Finding(Identity("orphans", "test", database=name), Severity.HIGH, "broken")


def test_database_with_an_entry_of_its_own_is_never_a_member_too(group, house):
    own = group.create("own").removeprefix("coop/")
    other = group.create("other")
    dsn = json.dumps(make_conninfo(group.dsn, dbname=own))
    group.configure(f"[databases.own]\ndsn = {dsn}\n")
    context = look(house.context())
    assert set(context.config.databases) == {"main", "own", other}, "it was never met"


def test_member_that_gets_an_entry_of_its_own_is_retired_at_once(group, house):
    name = group.create()
    context = look(house.context())
    context.process_findings([broken(name)])
    dsn = json.dumps(make_conninfo(group.dsn, dbname=name.removeprefix("coop/")))
    group.configure(f"[databases.own]\ndsn = {dsn}\n")
    context = look(house.context())
    assert (set(context.config.databases), context.missing) == ({"main", "own"}, set())
    assert ("orphans", name) not in open_alerts(context)


def test_database_of_two_groups_belongs_to_the_first(group, house):
    name = group.create()
    pattern = json.dumps(f"{group.prefix}%")
    group.configure(f"[databases.second]\ndsn = {json.dumps(group.dsn)}\ndiscover = {pattern}\n")
    context = look(house.context())
    assert set(context.config.databases) == {"main", name}
    assert open_alerts(context) == {("group_empty", "")}, "the second one stands for none"


def test_answer_that_is_older_than_a_recorded_one_changes_nothing(group, house):
    first = group.create()
    context = look(house.context())
    older = ask(context)
    second = group.create("b")
    context = look(context)
    record_answers(context, older)
    context = renewed(context)
    assert set(context.config.databases) == {"main", first, second}
    assert context.missing == set()


def test_concurrent_looks_lose_no_database(group, house):
    context, wrong = house.context(), []
    names = [group.create(f"d{number}") for number in range(3)]

    def looks():
        for _ in range(8):
            wrong.extend(look_for_databases(context).values())

    threads = [threading.Thread(target=looks) for _ in range(4)]
    for one in threads:
        one.start()
    names.append(group.create("late"))
    for one in threads:
        one.join(60)
    look_for_databases(context)
    context = renewed(context)
    assert (wrong, context.missing) == ([], set())
    assert set(context.config.databases) == {"main", *names}
    assert "database_missing" not in {kind for kind, _ in open_alerts(context)}


def test_pattern_that_leaves_a_database_out_retires_it_without_calling_it_dropped(
    group,
    house,
):
    kept, left = group.create("a"), group.create("test_1")
    context = look(house.context())
    context.process_findings([broken(left)])
    group.lines = f'except = ["{group.prefix}test%"]\n'
    group.configure()
    context = look(house.context())
    assert (set(context.config.databases), context.missing) == ({"main", kept}, set())
    assert open_alerts(context) == set()


def test_database_dropped_after_the_look_is_missing_and_not_unreachable(group, house):
    name = group.create()
    context = look(house.context())
    group.drop("a")
    task = Task("analyze", Scope.DATABASE, name, replace(NOW, schedule="daily"))
    ran = Runner(context, NoProgress()).run(task, open_window(60))
    assert (ran.state.value, ran.cause.value) == ("skipped", "gone")
    assert open_alerts(context) == {("database_missing", name)}
    context = look(context)
    assert context.missing == {name}
    assert open_alerts(context) == {("database_missing", name), ("group_empty", "")}
    group.create()
    context = look(context)
    assert open_alerts(context) == set()


def test_group_without_databases_is_told_and_its_pattern_noted(group, house):
    context = look(house.context())
    assert open_alerts(context) == {("group_empty", "")}
    group.lines = ""
    house.extra = house.extra.replace(f"{group.prefix}%", "coop*")
    noted = house.sereno("config", "check").stderr
    assert "databases.coop.discover: * stands for itself; the wildcard is %" in noted
    house.extra = house.extra.replace("coop*", "")
    refused = house.sereno("config", "check", check=False)
    assert refused.returncode == 78
    assert "discover is empty: leave it out, or give a pattern like coop_%" in refused.stderr


def test_alerts_of_a_group_end_when_it_leaves_the_configuration(group, house):
    name = group.create()
    house.sereno("now", "analyze", "--database", name)
    context = look(house.context())
    context.process_findings([broken(name)])
    assert open_alerts(context) == {("orphans", name), ("not_installed", "")}
    house.extra = ""
    alone = house.context()
    look_for_databases(alone)
    resolve_what_left(alone)
    assert open_alerts(alone) == set()


def test_alerts_of_an_entry_end_when_it_becomes_a_group(group, house):
    context = look(house.context())
    context.process_findings(
        [
            broken("coop"),
            Finding(Identity("database_unreachable", "test", database="coop"), Severity.HIGH, "x"),
        ]
    )
    resolve_what_left(context)
    assert ("orphans", "coop") not in open_alerts(context)
    assert ("database_unreachable", "coop") in open_alerts(context)


def test_alert_of_a_server_ends_when_no_two_databases_share_it(group, house):
    identity = Identity("server_unreachable", "test", object="elsewhere:5432")
    context = house.context()
    context.process_findings([Finding(identity, Severity.CRITICAL, "down")])
    resolve_what_left(context)
    assert open_alerts(context) == set()


def test_database_that_comes_back_owes_nothing_of_the_time_it_was_away(group, house):
    name = group.create()
    first = look(house.context())
    group.execute(f'ALTER DATABASE "{group.prefix}a" ALLOW_CONNECTIONS false')
    look(at(first, 1))
    group.execute(f'ALTER DATABASE "{group.prefix}a" ALLOW_CONNECTIONS true')
    back = look(at(first, 1.5))
    since = known_since(back, Task("analyze", Scope.DATABASE, name), back.clock())
    assert back.clock() - since < timedelta(hours=1)


def test_tags_of_a_missing_database_still_route_its_alerts(group, house):
    group.lines = 'tags = ["prod"]\n'
    group.configure()
    name = group.create()
    look(house.context())
    group.drop("a")
    context = look(house.context())
    assert context.policy.tags[name] == context.policy.tags["coop"] == {"prod"}


def test_screens_of_a_group_show_its_missing_databases_and_its_own_alerts(group, house):
    group.lines = 'tags = ["prod"]\n'
    group.configure()
    name = group.create()
    house.sereno("now", "analyze", "--database", "coop")
    group.drop("a")
    look(house.context())
    for chosen in (("--database", "coop"), ("--database", name), ("--tag", "prod")):
        told = json.loads(house.sereno("status", "--json", *chosen).stdout)["alerts"]
        assert ("database_missing", name) in {(one["kind"], one["database"]) for one in told}, (
            chosen
        )
        assert "was dropped or renamed" in house.sereno("report", *chosen).stdout, chosen
    told = json.loads(house.sereno("status", "--json", "--database", "coop").stdout)["alerts"]
    assert "group_empty" in {one["kind"] for one in told}


def test_command_fails_when_its_group_cannot_be_asked_and_only_then(group, house):
    dsn = json.dumps(make_conninfo(group.dsn, host="/nowhere"))
    group.configure(f'[databases.away]\ndsn = {dsn}\ndiscover = "a%"\n')
    name = group.create()
    done = house.sereno("now", "analyze", "--database", name)
    assert "nowhere" not in done.stdout + done.stderr, "another group is not asked"
    for command, code in (("plan", 2), ("now", 1), ("check", 2)):
        names = ["invalid_index"] if command == "check" else ["analyze"]
        done = house.sereno(command, *names, check=False)
        assert (done.returncode, "/nowhere" in done.stdout) == (code, True), command


def test_install_lists_the_databases_as_the_administrator(prepared_group, house):
    group = prepared_group
    first, second = group.create(), group.create("b")
    done = house.sereno("install", first, "--admin", group.dsn)
    assert "coop: 1 of 1 database prepared" in done.stdout
    done = house.sereno("install", "--discover", "coop", "--admin", group.dsn)
    assert "coop: 2 of 2 databases prepared" in done.stdout
    context = house.context()
    assert {context.config.databases[name].prepared for name in (first, second)} == {True}
    since = known_since(context, Task("log_cleanup", Scope.DATABASE, first), context.clock())
    assert context.clock() - since < timedelta(minutes=5), "it owes nothing of the time before"
    for words, said in (
        (("--discover", "main"), "databases.main has no discover"),
        (("--discover", "nobody"), "there is no group 'nobody'"),
        (("coop/nobody",), "there is no database 'coop/nobody'"),
    ):
        refused = house.sereno("install", *words, "--admin", group.dsn, check=False)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    group.drop("a")
    group.drop("b")
    refused = house.sereno("install", "--discover", "coop", "--admin", group.dsn, check=False)
    assert (refused.returncode, "no database of its server" in refused.stderr) == (2, True)


def test_trust_of_a_group_records_the_owner_in_each_database(prepared_group, house):
    group = prepared_group
    first = group.create()
    house.sereno("install", "--discover", "coop", "--admin", group.dsn)
    plain = group.create("plain")
    group.execute("DELETE FROM sereno.owner", "a")
    told = json.loads(house.sereno("trust", "coop", "--yes", "--json").stdout)
    trusted = {one["database"]: one["trusted"] for one in told["databases"]}
    assert trusted == {first: True, plain: False}
    said = house.sereno("trust", "coop", "--yes").stdout
    assert said == (
        "coop: its server is trusted; expired rows may be deleted in 1 of 2 databases\n"
    )


def test_tasks_that_delete_are_planned_anew_once_a_database_is_prepared(group, house):
    name = group.create()
    context = look(house.context())
    key, tasks = ("coop", name.removeprefix("coop/")), ("analyze", "log_cleanup")
    with context.store.transaction() as transaction:
        for job in tasks:
            task = Task(job, Scope.DATABASE, name, replace(NOW, schedule="daily"))
            history.remember_planned(transaction, "0 2 * * *", {task: context.clock()})
    record_prepared(context, key, prepared=False)
    record_prepared(at(context, 2), key, prepared=True)
    with context.store.reading() as transaction:
        (planned,) = history.load_planned(transaction)
    assert " analyze " in planned
    context = renewed(at(context, 2))
    since = known_since(context, Task("log_cleanup", Scope.DATABASE, name), context.clock())
    assert context.clock() - since < timedelta(hours=1)


def test_jobs_of_the_host_ask_each_server_of_a_group_once(group, house):
    for number in range(3):
        group.create(f"d{number}")
    context = look(house.context())
    assert len(context.config.databases) == 4
    assert one_per_server(context.config) == ["main"], "it is in the same server"


def test_alerts_are_listed_by_database_and_by_tag(group, house):
    group.lines = 'tags = ["prod"]\n'
    group.configure()
    name = group.create()
    context = look(house.context())
    context.process_findings([broken(name), broken("main")])
    for chosen in (("--database", "coop"), ("--tag", "prod")):
        told = json.loads(house.sereno("alerts", "list", "--json", *chosen).stdout)
        assert {one["database"] for one in told} == {name}
    silence = ("alerts", "silence", "--reason", "x", "--for", "1h", "--tag", "nix")
    refused = house.sereno(*silence, check=False)
    assert (refused.returncode, "there is no tag 'nix'" in refused.stderr) == (2, True)


@pytest.mark.parametrize("schedule", ["vacuum", "nightly vacuum", "nightly"])
def test_planned_tasks_are_forgotten_whatever_the_name_of_their_schedule(house, schedule):
    context, names = house.context(), ("coop/a", "coop/a vacuum b")
    with context.store.transaction() as transaction:
        for name in (*names, "coop/b"):
            task = Task("vacuum", Scope.DATABASE, name, replace(NOW, schedule=schedule))
            history.remember_planned(transaction, "0 3 * * *", {task: context.clock()})
        found_databases.forget_planned(transaction, set(names), context.jobs)
        (left,) = history.load_planned(transaction)
    assert left.endswith(" vacuum coop/b")
